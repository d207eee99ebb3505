"""The pictures of an explanation, as PNG files and in one page."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from cnn_jax import html
from cnn_jax.config.image_size import sides
from cnn_jax.errors import DataError
from cnn_jax.evaluation.classifier import Classifier, top
from cnn_jax.explaining import chain_walk, feature_maps, saliency
from cnn_jax.explaining.picture_folder import Picture, PictureFolder, file_name
from cnn_jax.io.writing import write_atomically
from cnn_jax.models.chain import layer_names
from cnn_jax.models.summary import LayerSummary, summarise
from cnn_jax.runtime.compiling import jit

METHODS = {"grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++", "occlusion": "occlusion"}
"""Flags and names of the maps for a class."""
SHOWN_FILTERS = 64
"""Of the first layer, at most."""
LEAST_SIDE = 176
"""Pixels of a picture of one step along the chain, and of a photograph at least."""
NAMED_CLASSES = 5
"""Classes in the table beside each photograph."""


@dataclass(frozen=True)
class Choices:
    """What to show."""

    layers: Sequence[str]
    """Layers with rows and columns."""
    methods: Sequence[str]
    """Of `METHODS`."""
    classes: Sequence[int] | None
    """None: the most probable ones of each image, `likely` many."""
    likely: int
    channels: int
    """Feature maps of a layer."""
    patch: int
    """Pixels of the occluding square."""
    stride: int
    """Pixels between its places."""


@dataclass(frozen=True)
class Explainer:
    """Explains images with one network."""

    classifier: Classifier
    choices: Choices
    picture_folder: PictureFolder
    failed: list[str] = field(default_factory=list)
    """Images that could not be read."""

    def write_page(self, paths: Sequence[str], title: str, done: Callable[[], None]) -> Path:
        """Explain the images, write all pictures and `index.html`, and return the path of that; `done` after each."""
        images = []
        for number, path in enumerate(paths, start=1):
            images.append(self._image(number, path))
            done()
        page = html.render(
            "explain.html",
            title=title,
            model=self.classifier.model,
            class_count=len(self.classifier.classes),
            filters=self._filters(),
            layers=[self._summaries[name] for name in self.choices.layers],
            in_words=chain_walk.in_words,
            images=images,
        )
        target = self.picture_folder.folder / "index.html"
        write_atomically(target, page)
        return target

    def _filters(self) -> Picture | None:
        found = feature_maps.first_filters(self.classifier.model, self.classifier.variables)
        if found is None:
            return None
        name, kernel = found
        numbers = feature_maps.strongest_filters(kernel, SHOWN_FILTERS)
        which = "All" if len(numbers) == kernel.shape[-1] else f"The {len(numbers)} strongest of the"
        caption = (
            f"{which} {kernel.shape[-1]} filters of {name}, {kernel.shape[0]} x {kernel.shape[1]} pixels each: "
            "a filter answers where the image looks like it. Grey is a weight of 0; a filter all in grey does nothing."
        )
        return self.picture_folder.add(
            "first-layer-filters", feature_maps.filter_grid(kernel, numbers), caption, exact=True
        )

    def _image(self, number: int, path: str) -> dict[str, Any]:
        """What the template needs for an image, or for one that cannot be read."""
        try:
            pixels = self.classifier.pixels(path)
        except DataError as error:
            self.failed.append(path)
            return {"path": path, "error": str(error)}
        picture_folder = self.picture_folder.below(f"{number:02d}-{file_name(Path(path).stem)}")
        names = self.classifier.classes
        outputs = self._outputs(self.classifier.variables, pixels[None])
        outputs = {name: np.asarray(output, np.float32) for name, output in outputs.items()}
        probabilities = np.asarray(jax.nn.softmax(outputs[self._taps[-1]][0]))
        height, width = sides(self.classifier.model.image_size)
        photo = feature_maps.enlarged(pixels, max(height, width, LEAST_SIDE))
        return {
            "path": path,
            "error": None,
            "photo": picture_folder.add("image", photo, f"As the network sees it: {height} x {width} pixels."),
            "top": [(names[index], share) for index, share in top(probabilities, NAMED_CLASSES)],
            "stages": [self._stage(name, outputs, picture_folder) for name in self.choices.layers],
            "features": [self._features(name, outputs, picture_folder) for name in self.choices.layers],
            "classes": self._classes(pixels, photo, probabilities, picture_folder),
            "walk": chain_walk.layer_outputs(self._model, outputs),
        }

    def _stage(
        self, name: str, outputs: dict[str, Float[np.ndarray, "1 ..."]], picture_folder: PictureFolder
    ) -> dict[str, Any]:
        """One channel before and after each step of the stage that the layer belongs to."""
        steps = chain_walk.stage(self._model, self._tap(name))
        channel = feature_maps.most_contrast(outputs[steps[-1]][0])
        layers = dict(zip(layer_names(self._model.layers), self._model.layers, strict=True))
        pictures: list[Picture] = []
        for step in steps:
            output = outputs[step][0]
            colours = feature_maps.coloured(output[..., channel], signed=True)
            caption = (
                f"{step}. {chain_walk.sentence(layers[step])} {' x '.join(map(str, output.shape))} values "
                f"from {output.min():.3g} to {output.max():.3g}; {(output == 0).mean():.1%} are 0."
            )
            label = file_name(f"stage-{name}-{len(pictures) + 1}-{step}")
            pictures.append(picture_folder.add(label, feature_maps.enlarged(colours, LEAST_SIDE), caption))
        return {"layer": name, "channel": channel, "steps": pictures}

    def _features(
        self, name: str, outputs: dict[str, Float[np.ndarray, "1 ..."]], picture_folder: PictureFolder
    ) -> Picture:
        output, seen = outputs[self._tap(name)][0], self._summaries[name].receptive_field
        channels = feature_maps.most_active(output, self.choices.channels)
        height, width, count = output.shape
        caption = (
            f"{name}: the {len(channels)} most active of {count} channels of {height} x {width}, each with its number "
            f"and largest value. A value sees {chain_walk.in_words(seen)} of the image."
        )
        return picture_folder.add(file_name(f"features-{name}"), feature_maps.feature_grid(output, channels), caption)

    def _classes(
        self,
        pixels: UInt8[np.ndarray, "h w 3"],
        photo: UInt8[np.ndarray, "_ _ 3"],
        probabilities: Float32[np.ndarray, " classes"],
        picture_folder: PictureFolder,
    ) -> list[dict[str, Any]]:
        """The maps for each class, over `photo`."""
        chosen = self.choices.classes
        if chosen is None:
            chosen = [index for index, _ in top(probabilities, self.choices.likely)]
        maps = self._gradient_maps(pixels, chosen)
        drops = self._drops(pixels, chosen)
        return [
            {
                "name": self.classifier.classes[index],
                "probability": float(probabilities[index]),
                "maps": [
                    self._map(method, layer, index, values[i], photo, picture_folder)
                    for (layer, method), values in maps.items()
                ],
                "occlusion": None if drops is None else self._occlusion(index, drops[i], photo, picture_folder),
            }
            for i, index in enumerate(chosen)
        ]

    def _gradient_maps(
        self, pixels: UInt8[np.ndarray, "h w 3"], classes: Sequence[int]
    ) -> dict[tuple[str, str], Float32[np.ndarray, "classes _ _"]]:
        """(layer, method) to maps, in the order of the page."""
        methods = [method for method in ("grad-cam", "grad-cam++") if method in self.choices.methods]
        if not methods:
            return {}
        model, variables = self.classifier.model, self.classifier.variables
        repeated = np.repeat(pixels[None], len(classes), axis=0)
        found = saliency.class_activation_maps(model, variables, repeated, np.asarray(classes), self.choices.layers)
        places = {"grad-cam": 0, "grad-cam++": 1}
        deepest_first = self.choices.layers[::-1]
        return {(layer, method): found[layer][places[method]] for layer in deepest_first for method in methods}

    def _drops(
        self, pixels: UInt8[np.ndarray, "h w 3"], classes: Sequence[int]
    ) -> Float32[np.ndarray, "classes h w"] | None:
        if "occlusion" not in self.choices.methods:
            return None
        model, variables = self.classifier.model, self.classifier.variables
        return saliency.occlusion(model, variables, pixels, classes, self.choices.patch, self.choices.stride)

    def _map(
        self,
        method: str,
        layer: str,
        index: int,
        values: Float32[np.ndarray, "h w"],
        photo: UInt8[np.ndarray, "_ _ 3"],
        picture_folder: PictureFolder,
    ) -> Picture:
        name, (height, width) = self.classifier.classes[index], values.shape
        says = f"bright places speak for {name}" if values.any() else f"nothing here speaks for {name}"
        caption = f"{METHODS[method]} at {layer} ({height} x {width}): {says}."
        label = file_name(f"{method}-{index}-{name}-{layer}")
        return picture_folder.add(label, saliency.overlay(photo, values), caption)

    def _occlusion(
        self,
        index: int,
        drops: Float32[np.ndarray, "h w"],
        photo: UInt8[np.ndarray, "_ _ 3"],
        picture_folder: PictureFolder,
    ) -> Picture:
        name, patch, highest = self.classifier.classes[index], self.choices.patch, float(drops.max())
        says = "covering a bright place" if highest > 0 else "covering any place"
        fall = f"lowers the probability of {name} by up to {highest:.2g}" if highest > 0 else "does not lower it"
        caption = f"Occlusion: {says} with a grey square of {patch} x {patch} pixels {fall}."
        scaled = drops / highest if highest > 0 else np.zeros_like(drops)
        return picture_folder.add(file_name(f"occlusion-{index}-{name}"), saliency.overlay(photo, scaled), caption)

    def _tap(self, name: str) -> str:
        """Where the output of a layer is found in the network with separate rectifiers."""
        rectifier = f"{name}_relu"
        return rectifier if rectifier not in self._summaries and rectifier in self._taps else name

    @functools.cached_property
    def _model(self) -> Any:
        return chain_walk.separate_rectifiers(self.classifier.model)

    @functools.cached_property
    def _taps(self) -> tuple[str, ...]:
        return tuple(layer_names(self._model.layers))

    @functools.cached_property
    def _outputs(self) -> Any:
        return jit(functools.partial(self._model.activations, names=self._taps))

    @functools.cached_property
    def _summaries(self) -> dict[str, LayerSummary]:
        summary = summarise(self.classifier.model, lambda params: params, batch_size=1)
        return {layer.name: layer for layer in summary.layers}
