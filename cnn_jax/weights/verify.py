"""The parity certificate: this port and Keras on the same images with the same file, layer by layer."""

import functools
import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, UInt8

from cnn_jax.config.image_size import ImageSize, sides
from cnn_jax.errors import WeightsError
from cnn_jax.models.chain import layer_names
from cnn_jax.models.layers import Activation
from cnn_jax.runtime.compiling import jit
from cnn_jax.weights.keras_library import import_keras
from cnn_jax.weights.pretrained import Pretrained

KERAS_MODELS = {
    "mobilenet": ("MobileNet", "mobilenet"),
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2"),
    "vgg16": ("VGG16", "vgg16"),
    "vgg19": ("VGG19", "vgg19"),
}
"""Architecture to the function and the module of `keras.applications`."""

WITH_ALPHA = ("mobilenet", "mobilenet_v2")
INPUTS, RESULT = "(normalised images)", "(result, nothing tapped)"
"""Names of what is compared besides the layers."""
BATCH_SIZE = 8


@dataclass(frozen=True)
class Difference:
    """How far one output of the port is from Keras'."""

    layer: str
    absolute: float
    """The largest difference of two values; infinite where the shapes differ."""
    scale: float
    """The largest absolute value of Keras' output, or of what a rectifier takes."""

    @property
    def relative(self) -> float:
        """The difference in units of the scale."""
        return self.absolute / self.scale if self.scale else self.absolute

    def within(self, tolerance: float) -> bool:
        """Whether the outputs agree; NaN never does."""
        return self.relative <= tolerance


@dataclass(frozen=True)
class Certificate:
    """What the comparison found."""

    sha256: str
    md5: str
    keras_version: str
    images: int
    differences: tuple[Difference, ...]
    """The normalised images, each layer in order, and the result of the network as it is used."""
    same_best: float | None
    """Share of images with the same most probable class; None without a classifier."""
    same_top5: float | None
    """Share of images with the same five most probable classes."""

    def first_above(self, tolerance: float) -> Difference | None:
        """Where disagreement starts."""
        return next((d for d in self.differences if not d.within(tolerance)), None)


def certify(pretrained: Pretrained, images: UInt8[np.ndarray, "n h w 3"]) -> Certificate:
    """Run both networks on images.

    Keras reads the file with its own code, and normalises with its own `preprocess_input`. Of a file that describes its
    layers, the results are probabilities.

    Raises:
        WeightsError: Keras is not installed, or cannot load the file.
    """
    reference = _WholeModel(pretrained) if pretrained.config.name == "keras" else _Reference(pretrained)
    port = _Port(pretrained)
    rectifiers = {str(layer.name) for layer in pretrained.model.layers if isinstance(layer, Activation)}
    worst: dict[str, Difference] = {}
    best, top5 = [], []
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        expected, found = reference.outputs(batch), port.outputs(batch)
        for difference in _differences(expected, found, rectifiers):
            before = worst.get(difference.layer, difference)
            worst[difference.layer] = _wider(before, difference)
        if pretrained.has_top and found[RESULT].shape == expected[RESULT].shape:
            ours, theirs = (
                np.argsort(-logits, axis=-1, kind="stable")[:, :5] for logits in (found[RESULT], expected[RESULT])
            )
            best.append(ours[:, 0] == theirs[:, 0])
            top5.append((np.sort(ours) == np.sort(theirs)).all(-1))
    return Certificate(
        _hash(pretrained.path, "sha256"),
        _hash(pretrained.path, "md5"),
        reference.version,
        len(images),
        tuple(worst.values()),
        float(np.concatenate(best).mean()) if best else None,
        float(np.concatenate(top5).mean()) if top5 else None,
    )


def made_up_images(count: int, size: ImageSize) -> UInt8[np.ndarray, "n h w 3"]:
    """Images that reach what photographs rarely do: noise, ramps, and flat black and white."""
    rng = np.random.default_rng(0)
    height, width = sides(size)
    down, across = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)
    kinds = [
        rng.integers(0, 256, (height, width, 3)),
        np.stack(np.broadcast_arrays(down, across, down[::-1]), -1),
        np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((-(-height // 8), -(-width // 8), 1)))[:height, :width],
        np.full((height, width, 3), 255) * (2 * np.indices((height, width)).sum(0) > height + width)[..., None],
    ]
    shifts = (np.roll(kinds[i % len(kinds)], i // len(kinds) * 7, axis=(0, 2)) for i in range(count))
    return np.stack(list(shifts)).astype(np.uint8)


class _Port:
    """This package's network."""

    def __init__(self, pretrained: Pretrained) -> None:
        model, names = pretrained.model, layer_names(pretrained.model.layers)
        self._variables = pretrained.variables
        self._inputs = jit(lambda x: model.prepare(x))
        self._tapped = jit(lambda v, x: model.activations(v, x, names))
        probable = pretrained.config.name == "keras" and pretrained.has_top
        self._result = jit(lambda v, x: (model.probabilities if probable else model.outputs)(v, x))

    def outputs(self, images: UInt8[np.ndarray, "b h w 3"]) -> dict[str, Float[np.ndarray, "b ..."]]:
        with jax.default_matmul_precision("highest"):
            inputs, tapped = self._inputs(images), self._tapped(self._variables, images)
            result = self._result(self._variables, images)
        return {name: np.asarray(value) for name, value in {INPUTS: inputs, **tapped, RESULT: result}.items()}


class _Reference:
    """Keras' network, with the weights that Keras itself reads from the file."""

    def __init__(self, pretrained: Pretrained) -> None:
        keras = import_keras("the comparison")
        config = pretrained.config
        function, module = KERAS_MODELS[config.name]
        keras.utils.clear_session()  # layers without a name of their own are not numbered on
        model = getattr(keras.applications, function)(
            input_shape=pretrained.model.image_shape,
            include_top=pretrained.has_top,
            weights=None,
            **({"alpha": config.alpha} if config.name in WITH_ALPHA else {}),
            **({"classifier_activation": None} if pretrained.has_top else {}),
        )
        try:
            model.load_weights(str(pretrained.path))
        except (ValueError, OSError, KeyError) as error:
            raise WeightsError(f"{pretrained.path}: Keras cannot load it into its {function}: {error}") from error
        names = layer_names(pretrained.model.layers)
        wanted = {layer.name: layer.output for layer in model.layers if layer.name in names}
        self._model = keras.Model(model.input, {**wanted, RESULT: wanted[names[-1]]})
        self._names = [name for name in names if name in wanted]
        self._preprocess = getattr(keras.applications, module).preprocess_input
        self.version = keras.__version__

    def outputs(self, images: UInt8[np.ndarray, "b h w 3"]) -> dict[str, Float[np.ndarray, "b ..."]]:
        inputs = self._preprocess(images.astype(np.float32))
        outputs = self._model(inputs, training=False)
        return {
            INPUTS: np.asarray(inputs),
            **{name: np.asarray(outputs[name]) for name in (*self._names, RESULT)},
        }


class _WholeModel:
    """The model as Keras itself loads it from the file, with the models inside of it."""

    def __init__(self, pretrained: Pretrained) -> None:
        keras = import_keras("the comparison")
        try:
            self._model = keras.models.load_model(str(pretrained.path), compile=False)
        except Exception as error:  # by what does not fit, of many kinds
            reason = str(error).splitlines()[0][:300]
            raise WeightsError(
                f"{pretrained.path}: this version of Keras, {keras.__version__}, cannot load it: {reason}"
            ) from error
        self._names = layer_names(pretrained.model.layers)[:-1]
        self._network, self._is_classifier = pretrained.model, pretrained.has_top
        self._kept: dict[str, Any] = {}
        self._keep_outputs(self._model, ())
        self.version = keras.__version__

    def _keep_outputs(self, model: Any, path: tuple[str, ...]) -> None:
        """Have the layers of the model keep what they put out when it runs, under the names that they have here."""
        for layer in model.layers:
            own = (*path, layer.name)
            if hasattr(layer, "layers"):
                self._keep_outputs(layer, own)
            for name in dict.fromkeys(("/".join(own), layer.name)):
                if name in self._names:
                    layer.call = self._keeping(name, layer.call)
                    break

    def _keeping(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def kept(*arguments: Any, **named: Any) -> Any:
            self._kept[name] = call(*arguments, **named)
            return self._kept[name]

        return kept

    def outputs(self, images: UInt8[np.ndarray, "b h w 3"]) -> dict[str, Float[np.ndarray, "b ..."]]:
        """As `_Port.outputs`. What the file does not say, how to scale images, is done as there."""
        inputs = np.asarray(self._network.prepare(jnp.asarray(images)))
        self._kept.clear()
        outputs = self._model(inputs, training=False)
        result = np.asarray(outputs[0] if isinstance(outputs, list | tuple) else outputs, np.float64)
        if self._is_classifier:
            result = _as_probabilities(result)
        kept = {name: np.asarray(self._kept[name]) for name in self._names if name in self._kept}
        ours = self._network.output_shapes
        fitting = {name: output for name, output in kept.items() if output.ndim == len(ours[name].shape)}
        return {INPUTS: inputs, **fitting, RESULT: result}


def _as_probabilities(values: Float64[np.ndarray, "b _"]) -> Float64[np.ndarray, "b classes"]:
    """What Keras' network gives, as probabilities of classes: it may end with logits, or one value."""
    unit = bool(((values >= 0) & (values <= 1)).all())
    if values.shape[1] == 1:
        second = values if unit else 1 / (1 + np.exp(-values))
        return np.concatenate([1 - second, second], axis=-1)
    if unit and np.allclose(values.sum(-1), 1, atol=1e-3):
        return values
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _differences(
    expected: dict[str, Float[np.ndarray, "b ..."]],
    found: dict[str, Float[np.ndarray, "b ..."]],
    rectifiers: Collection[str],
) -> Iterator[Difference]:
    """Keras' outputs against the port's, in Keras' order.

    A rectifier is measured by what goes into it: it cuts the values off, at 6 where they reach 90, and not their
    rounding errors. So is the result after it.
    """
    scale, rectified = 0.0, False
    for name, reference in expected.items():
        inherits = name in rectifiers or (rectified and name == RESULT)
        rectified = name in rectifiers
        scale = max(float(np.abs(reference).max()), scale if inherits else 0.0)
        same = found[name].shape == reference.shape
        yield Difference(name, float(np.abs(found[name] - reference).max()) if same else float("inf"), scale)


def _wider(first: Difference, second: Difference) -> Difference:
    """Both as one: NaN, which is no maximum, stays."""
    absolute = float(np.maximum(first.absolute, second.absolute))
    return replace(first, absolute=absolute, scale=max(first.scale, second.scale))


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
