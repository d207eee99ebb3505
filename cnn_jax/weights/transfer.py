"""Merge loaded weights into a model's variables: everything accounted for, by name, shape and dtype, or an error."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cnn_jax.errors import WeightsError
from cnn_jax.models.chain import Variables
from cnn_jax.weights.keras_h5 import Leaves

Paths = tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """What a merge did, by path `collection/layer/leaf`."""

    source: str
    """The file or run directory."""
    loaded: Paths
    initialised: Paths
    ignored: Paths
    """Of the source, replaced by the ones that were initialised."""


def merge(
    variables: Variables,
    loaded: Leaves,
    *,
    new_layers: Collection[str],
    replaced_layers: Collection[str],
    depthwise_layers: Collection[str],
    source: str,
) -> tuple[Variables, Transfer]:
    """Put `loaded` in the place of the leaves of the same name.

    Args:
        variables: the initialised variables, or their shapes (`jax.ShapeDtypeStruct`).
        new_layers: layers of the model that are meant to stay as initialised (the classifier).
        replaced_layers: layers of the file that are meant to stay unused (the classifier it was trained with).
        depthwise_layers: layers whose kernels Keras stores as [kh, kw, c, m]; here they are [kh, kw, 1, c * m].
        source: the file, for the errors.

    Returns:
        New variables, and what became of each leaf.

    Raises:
        WeightsError: a leaf is missing, left over, or of another shape or dtype; all of them are listed.
    """
    wanted, given = _flatten(variables), _flatten(loaded)
    for path in {f"params/{layer}/kernel" for layer in depthwise_layers} & set(given):
        given[path] = given[path].reshape(*given[path].shape[:2], 1, -1)
    kept = {path for path in wanted if _layer(path) in new_layers}
    ignored = {path for path in given if _layer(path) in replaced_layers}
    missing = sorted(set(wanted) - set(given) - kept)
    left_over = sorted(set(given) - set(wanted) - ignored)
    to_load = sorted((set(wanted) & set(given)) - kept)
    misfits = [
        f"{path}: the model has {_describe(wanted[path])}, the file {_describe(given[path])}"
        for path in to_load
        if _describe(wanted[path]) != _describe(given[path])
    ]
    if missing or left_over or misfits:
        raise WeightsError(_message(source, missing, left_over, misfits))
    merged = {
        collection: {
            layer: {
                leaf: given[path] if (path := f"{collection}/{layer}/{leaf}") in given and path not in kept else value
                for leaf, value in leaves.items()
            }
            for layer, leaves in layers.items()
        }
        for collection, layers in variables.items()
    }
    return merged, Transfer(source, tuple(to_load), tuple(sorted(kept)), tuple(sorted(ignored)))


def _flatten(tree: Variables | Leaves) -> dict[str, np.ndarray]:
    return {
        f"{collection}/{layer}/{leaf}": value
        for collection, layers in tree.items()
        for layer, leaves in layers.items()
        for leaf, value in leaves.items()
    }


def _layer(path: str) -> str:
    return path.split("/")[1]


def _describe(array: np.ndarray) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _message(source: str, missing: list[str], left_over: list[str], misfits: list[str]) -> str:
    parts = [f"{source} does not fit the model; nothing was loaded. Check model.name and model.alpha."]
    for title, rows in (("missing in the file", missing), ("left over in the file", left_over), ("different", misfits)):
        if rows:
            more = [f"… and {len(rows) - 12} more"] if len(rows) > 12 else []
            parts.append("\n    ".join([f"  {title} ({len(rows)}):", *rows[:12], *more]))
    return "\n".join(parts)
