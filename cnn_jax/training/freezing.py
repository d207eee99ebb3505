"""Which parameters train: a partition of the parameter tree, and the proof that the frozen part stayed as it was."""

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from cnn_jax.config import TrainConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models.chain import Variables
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.model import Model
from cnn_jax.models.quantization import FakeQuantize

Layers = dict[str, dict[str, Any]]
"""{layer: {leaf: array}}"""


@dataclass(frozen=True)
class Freezing:
    """What stays as it is: no gradient, no optimizer state, no weight decay, batch norm as in inference."""

    layers: frozenset[str]
    """Layers that are frozen as a whole."""
    leaves: frozenset[str] = frozenset()
    """Single parameters of other layers, as `layer/leaf`."""
    kept_statistics: frozenset[str] = frozenset()
    """Other batch norms that run as in inference and so keep their statistics."""

    @classmethod
    def until(cls, model: Model, layer: str) -> "Freezing":
        """Freeze the layers before `layer`: a layer's name, `head` or `none`.

        Raises:
            ConfigError: no layer of the model has that name.
        """
        return cls(frozenset(model.layers_before(layer, "train.freeze_until")))

    @classmethod
    def configured(cls, model: Model, config: TrainConfig) -> "Freezing":
        """What `config` freezes in the last phase of a run.

        Raises:
            ConfigError: see `until` and `matching`.
        """
        return cls.until(model, config.freeze_until).matching(config.frozen, model.shapes)

    def matching(self, patterns: Sequence[str], variables: Variables) -> "Freezing":
        """Freeze also the leaves whose whole path `layer/leaf` matches one of the regular expressions.

        A batch norm keeps its statistics where they match, or where all of its parameters do; so one without any does,
        as a normalisation by constants.

        Raises:
            ConfigError: a pattern that is no regular expression, or that matches nothing (with the near paths).
        """
        paths = [f"{layer}/{leaf}" for tree in variables.values() for layer in tree for leaf in tree[layer]]
        found = {path for pattern in patterns for path in _matches(pattern, paths)}
        params, statistics = variables["params"], variables["batch_stats"]
        leaves = {f"{layer}/{leaf}" for layer in params for leaf in params[layer]} & found
        still = {
            layer
            for layer in statistics
            if any(f"{layer}/{leaf}" in found for leaf in statistics[layer])
            or all(f"{layer}/{leaf}" in found for leaf in params.get(layer, {}))
        }
        return replace(self, leaves=self.leaves | leaves, kept_statistics=self.kept_statistics | still)

    @property
    def inference_layers(self) -> frozenset[str]:
        """The layers that run as in inference while the others train."""
        return self.layers | self.kept_statistics

    def with_rounding(self, model: Model) -> "Freezing":
        """The same for a phase with the rounding of int8.

        All batch norms run as in inference, so that they go into the kernels before them; all ranges move, those of
        frozen layers too.
        """
        norms = frozenset(str(layer.name) for layer in model.layers if isinstance(layer, BatchNorm))
        ranges = frozenset(str(layer.name) for layer in model.layers if isinstance(layer, FakeQuantize))
        return replace(self, layers=self.layers - ranges, kept_statistics=(self.kept_statistics | norms) - ranges)

    def split(self, params: Mapping[str, Mapping[str, Any]]) -> tuple[Layers, Layers]:
        """The trainable and the frozen part of a tree of parameters; a layer without a leaf in a part is not in it."""
        return _divide(params, lambda layer, leaf: layer not in self.layers and f"{layer}/{leaf}" not in self.leaves)

    def split_statistics(self, batch_stats: Layers) -> tuple[Layers, Layers]:
        """The moving and the kept part of a tree of batch statistics."""
        return _divide(batch_stats, lambda layer, leaf: layer not in self.inference_layers)

    def prefix(self, model: Model) -> int:
        """How many layers from the start neither train nor depend on chance, so that they can run once an image.

        Where a residual connection spans that point, the layers before the connection.
        """
        trainable = self.split(model.shapes["params"])[0]
        for index, layer in enumerate(model.layers):
            name, moving = str(layer.name), layer.name not in self.inference_layers
            moves = isinstance(layer, BatchNorm) or (isinstance(layer, FakeQuantize) and layer.active)
            if name in trainable or (moving and (layer.is_random or moves)):
                return model.cut_before(index)
        return len(model.layers)

    def digest(self, variables: Variables) -> str:
        """SHA-256 over the names, shapes and bytes of all frozen parameters and statistics."""
        frozen = self.split(variables["params"])[1], self.split_statistics(variables["batch_stats"])[1]
        return digest(dict(zip(("params", "batch_stats"), frozen, strict=True)))


def merge(first: Layers, second: Layers) -> Layers:
    """The inverse of a split: all leaves of both; those of `second` where both have one."""
    return {layer: {**first.get(layer, {}), **second.get(layer, {})} for layer in {**first, **second}}


def _divide(tree: Mapping[str, Mapping[str, Any]], chosen: Callable[[str, str], bool]) -> tuple[Layers, Layers]:
    """The leaves (layer, leaf) that are chosen, and the others."""
    parts: tuple[Layers, Layers] = ({}, {})
    for layer, leaves in tree.items():
        for leaf, value in leaves.items():
            parts[0 if chosen(layer, leaf) else 1].setdefault(layer, {})[leaf] = value
    return parts


def _matches(pattern: str, paths: Sequence[str]) -> list[str]:
    try:
        found = [path for path in paths if re.fullmatch(pattern, path)]
    except re.error as error:
        raise ConfigError(f"train.frozen: {pattern!r} is no regular expression: {error}") from error
    if not found:
        near = difflib.get_close_matches(pattern, paths, n=5, cutoff=0.3) or paths[:5]
        raise ConfigError(f"train.frozen: {pattern!r} matches no parameter or statistic; near ones: {', '.join(near)}")
    return found


def digest(tree: Any) -> str:
    """SHA-256 over the paths, dtypes, shapes and bytes of a tree's arrays."""
    total = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)):
        array = np.asarray(leaf)
        total.update(f"{path} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def count(layers: Mapping[str, Collection[Any]] | Any) -> int:
    """The number of scalars in a tree."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(layers))
