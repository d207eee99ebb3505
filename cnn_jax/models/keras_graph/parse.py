"""Keras' description of a model, in the form of Keras 2 or 3, as an ordered list of plain nodes.

A model inside the model is unfolded: its layers are nodes like the others. Sizes and depth are bounded, so a made-up
description ends in an error within seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cnn_jax.errors import WeightsError
from cnn_jax.io.files import parse_json
from cnn_jax.models.keras_graph.calls import endings, values_of
from cnn_jax.models.keras_graph.values import Config, Value, at, shape, snake_case, text

IMAGES = "(images)"
"""What a node names among its arguments where it takes the images themselves."""

MOST_CHARACTERS = 2**24
"""Of a description; the largest network of Keras Applications takes a tenth."""
MOST_NODES = 5000
"""Layers, the unfolded ones counted; the deepest network of Keras Applications has 1,028."""
MOST_DEPTH = 16
"""Models inside models."""
MODELS = ("Sequential", "Functional", "Model")


@dataclass(frozen=True)
class Node:
    """A layer, or an operation such as `x + 3`, as the file describes it."""

    name: str
    """Of its own in the network: `outer/inner` where layers of several models are called alike."""
    kind: str
    """Keras' class."""
    config: Config
    arguments: tuple[Value, ...]
    """What it is called with, in order: names of nodes, `IMAGES`, and numbers, where it is an operation."""
    path: tuple[str, ...]
    """Its own name, after those of the models that it lies in."""
    group: str
    """Where Keras 3 keeps its arrays, such as `layers/functional/layers/conv2d_1`."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes that it takes."""
        return tuple(argument for argument in self.arguments if isinstance(argument, str))


@dataclass(frozen=True)
class Description:
    """A model in a file."""

    nodes: tuple[Node, ...]
    """In an order in which each comes after all that it takes; the last one is the output."""
    image_shape: tuple[int | None, int | None, int]
    """Rows, columns and channels; None: any number."""
    keras_version: int
    """2 or 3: a few functions differ."""


def parse(description: str | bytes) -> Description:
    """Read Keras' JSON, with its `keras_version` if that is known.

    Raises:
        WeightsError: it is no model that can be read; the message names the layer.
    """
    if len(description) > MOST_CHARACTERS:
        raise WeightsError(f"the description of its layers has {len(description):,} characters, more than any network")
    try:
        model = parse_json(description)
    except ValueError as error:
        raise WeightsError(f"the description of its layers is no JSON: {error}") from error
    model = at(model, dict, "the description of its layers")
    reader = _Reader()
    output = reader.model(model, [IMAGES], (), "", 0)
    if reader.image_shape is None:  # of a Sequential that learned it from its first images
        reader.take_built_shape(model)
    if reader.image_shape is None:
        raise WeightsError("the description of its layers does not say what images it takes: build it in Keras first")
    version = str(model.get("keras_version") or ("3" if reader.seen_keras_3 else "2"))
    nodes = _named(_ordered(reader.nodes, output))
    return Description(nodes, reader.image_shape, 2 if version.startswith(("1.", "2")) else 3)


@dataclass
class _Reader:
    """Collects nodes under their paths, joined by newlines, which no name has."""

    nodes: dict[str, Node] = field(default_factory=dict)
    image_shape: tuple[int | None, int | None, int] | None = None
    seen_keras_3: bool = False

    def model(self, spec: Config, inputs: Sequence[str], path: tuple[str, ...], group: str, depth: int) -> str:
        """Unfold a model that takes `inputs`; what its output is called."""
        kind = text(spec.get("class_name"), "class_name")
        where = path[-1] if path else "the model"
        if kind not in MODELS:
            raise WeightsError(
                f"{where} is of the class {kind}: only Sequential and functional models can be read. What a class of "
                "one's own does is code, which is not in the file: build it from Keras' layers, and save it again"
            )
        if depth > MOST_DEPTH:
            raise WeightsError(f"{where}: models inside models, more than {MOST_DEPTH} times")
        config = spec.get("config")
        if isinstance(config, list):  # Sequential before Keras 2.2.3
            config = {"layers": config}
        config = at(config, dict, f"{where}: config")
        layers = [at(layer, dict, f"{where}: a layer") for layer in at(config.get("layers"), list, f"{where}: layers")]
        if len(self.nodes) + len(layers) > MOST_NODES:
            raise WeightsError(f"it has more than {MOST_NODES:,} layers")
        if kind == "Sequential":
            return self._sequential(layers, inputs, path, group, depth)
        return self._functional(config, layers, inputs, path, group, depth)

    def _sequential(
        self, layers: list[Config], inputs: Sequence[str], path: tuple[str, ...], group: str, depth: int
    ) -> str:
        if len(inputs) != 1:
            raise WeightsError(f"{path[-1]}, a Sequential, is called with {len(inputs)} inputs")
        (output,) = inputs
        for layer, where in zip(layers, _groups(layers, group), strict=True):
            if output == IMAGES:
                self._take_shape(layer)
            if layer.get("class_name") != "InputLayer":
                output = self._add(layer, [output], path, where, depth)
        return output

    def _functional(
        self,
        config: Config,
        layers: list[Config],
        inputs: Sequence[str],
        path: tuple[str, ...],
        group: str,
        depth: int,
    ) -> str:
        names = endings(config.get("input_layers"), "input_layers")
        outputs = endings(config.get("output_layers"), "output_layers")
        where = path[-1] if path else "the model"
        if len(names) != len(inputs) or len(outputs) != 1:
            raise WeightsError(
                f"{where} has {len(names)} inputs and {len(outputs)} outputs; networks here take one image and give "
                "one result"
            )
        known = dict(zip(names, inputs, strict=True))
        calls = {}
        for layer, place in zip(layers, _groups(layers, group), strict=True):
            name = text(layer.get("name") or at(layer.get("config"), dict, "config").get("name"), "name")
            if name in calls:
                raise WeightsError(f"two layers of {where} are called {name}")
            calls[name] = layer, place
            if known.get(name) == IMAGES:
                self._take_shape(layer)
        return self._called(outputs[0], calls, known, path, depth)

    def _called(
        self,
        output: str,
        calls: dict[str, tuple[Config, str]],
        known: dict[str, str],
        path: tuple[str, ...],
        depth: int,
    ) -> str:
        """Add the layer called `output`, and before it, without recursion, all that it needs."""
        waiting, entered = [output], set()
        while waiting:
            name = waiting[-1]
            if name in known:
                waiting.pop()
                continue
            if name not in calls:
                raise WeightsError(f"a layer takes the output of {name!r}, which is not there")
            layer, place = calls[name]
            arguments = self._arguments(layer, name)
            missing = [value for value in arguments if isinstance(value, str) and value not in known]
            if missing and name in entered:
                raise WeightsError(f"the layer {name} takes its own output: its inputs lead in a circle")
            entered.add(name)
            if missing:
                waiting += reversed(missing)
                continue
            taken = [known[value] if isinstance(value, str) else value for value in arguments]
            known[name] = self._add(layer, taken, path, place, depth)
            waiting.pop()
        return known[output]

    def _arguments(self, layer: Config, name: str) -> list[Value]:
        calls = at(layer.get("inbound_nodes"), list, f"{name}: inbound_nodes")
        if len(calls) != 1:
            what = "is called at several places, with the same weights" if calls else "takes nothing"
            raise WeightsError(f"the layer {name} {what}: that cannot be read; build the model with a layer for each")
        if isinstance(calls[0], dict):
            self.seen_keras_3 = True
        return values_of(calls[0], name)

    def _add(self, layer: Config, arguments: Sequence[Value], path: tuple[str, ...], group: str, depth: int) -> str:
        kind = _kind(layer)
        config = at(layer.get("config"), dict, f"the config of a {kind}")
        name = text(layer.get("name") or config.get("name"), f"the name of a {kind}")
        own = (*path, name)
        if kind in MODELS or "layers" in config:
            names = [value for value in arguments if isinstance(value, str)]
            return self.model(layer, names, own, f"{group}/", depth + 1)
        key = "\n".join(own)
        if key in self.nodes or len(self.nodes) >= MOST_NODES:
            raise WeightsError(f"two layers are called {name}" if key in self.nodes else "it has too many layers")
        self.nodes[key] = Node(name, kind, config, tuple(arguments), own, group)
        return key

    def take_built_shape(self, model: Config) -> None:
        """The size of the images, as Keras 3 keeps it of a model that was built by what it was given."""
        config, built = model["config"], model.get("build_config")
        given = config.get("build_input_shape") if isinstance(config, dict) else None
        self._take(given or (built.get("input_shape") if isinstance(built, dict) else None))

    def _take_shape(self, layer: Config) -> None:
        """The size of the images, from the layer that takes them."""
        config = at(layer.get("config"), dict, "the config of a layer")
        self._take(config.get("batch_shape") or config.get("batch_input_shape"))

    def _take(self, given: Any) -> None:
        if given is None or self.image_shape is not None:
            return
        _, *size = shape(given, "the shape of its images")
        if len(size) != 3 or size[2] not in (1, 3):
            raise WeightsError(
                f"it takes arrays of {given}; networks here take images of rows, columns and 1 or 3 channels, last"
            )
        self.image_shape = size[0], size[1], size[2]


def _kind(layer: Config) -> str:
    """Keras' class; one of somebody's own by its module and name, which no class of Keras has."""
    kind, module, registered = (
        text(layer.get("class_name"), "class_name"),
        layer.get("module"),
        layer.get("registered_name"),
    )
    foreign = isinstance(module, str) and not module.startswith(("keras", "tf_keras", "tensorflow"))
    if foreign or (module is None and ">" in str(registered)):
        return f"{module or registered}.{kind}"
    return kind


def _groups(layers: Sequence[Config], prefix: str) -> list[str]:
    """Where Keras 3 keeps the arrays of each layer: its class and a count."""
    seen: dict[str, int] = {}
    groups = []
    for layer in layers:
        kind = snake_case(text(layer.get("class_name"), "class_name"))
        seen[kind] = seen.get(kind, -1) + 1
        groups.append(f"{prefix}layers/{kind}" + (f"_{seen[kind]}" if seen[kind] else ""))
    return groups


def _ordered(nodes: dict[str, Node], output: str) -> list[tuple[str, Node]]:
    """Those that the output needs, each branch in one piece, after all that it takes."""
    order: dict[str, Node] = {}
    waiting = [output]
    while waiting:
        key = waiting[-1]
        missing = [] if key == IMAGES else [name for name in nodes[key].inputs if name != IMAGES and name not in order]
        if missing:
            waiting += reversed(missing)
            continue
        waiting.pop()
        if key != IMAGES:
            order.setdefault(key, nodes[key])
    return list(order.items())


def _named(ordered: list[tuple[str, Node]]) -> tuple[Node, ...]:
    """The nodes under names of their own: the shortest end of each path that no other node has."""
    names: dict[str, str] = {IMAGES: IMAGES}
    taken: dict[str, int] = {}
    for key, _ in ordered:
        taken[key.split("\n")[-1]] = taken.get(key.split("\n")[-1], 0) + 1
    for key, node in ordered:
        names[key] = node.name if taken[node.name] == 1 else "/".join(node.path)
    if len(set(names.values())) < len(names):
        raise WeightsError("two of its layers are called alike")
    return tuple(
        Node(
            names[key],
            node.kind,
            node.config,
            tuple(names[value] if isinstance(value, str) else value for value in node.arguments),
            node.path,
            node.group,
        )
        for key, node in ordered
    )
