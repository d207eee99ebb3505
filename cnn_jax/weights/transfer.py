"""Merge loaded weights into a model's variables: everything accounted for, by name, shape and dtype, or an error."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Num

from cnn_jax.errors import WeightsError
from cnn_jax.models.chain import Variables
from cnn_jax.weights.readers.leaves import Leaves
from cnn_jax.weights.recognition import recognised

Paths = tuple[str, ...]
Flat = dict[str, Num[np.ndarray, "..."]]
"""{"collection/layer/leaf": array}"""
Shapes = dict[str, jax.ShapeDtypeStruct]
"""The same of a model that has no values yet."""


@dataclass(frozen=True)
class Transfer:
    """What a merge did, by path `collection/layer/leaf`."""

    source: str
    """The file or run directory."""
    loaded: Paths
    initialised: Paths
    ignored: Paths
    """Of the source, replaced by the ones that were initialised."""
    classifier: str | None = None
    """The layer of the source that the new classifier was loaded from."""
    other_inputs: str | None = None
    """Where the source was trained on images that were scaled in another way than here: how."""


def merge(
    variables: Variables,
    loaded: Leaves,
    *,
    new_layers: Sequence[str],
    replaced_layers: Collection[str],
    depthwise_layers: Collection[str],
    source: str,
    same_classes: bool = True,
) -> tuple[Variables, Transfer]:
    """Put `loaded` in the place of the leaves of the same name.

    The layers of the file's head, whatever their names, become the new ones from the first on, as long as their shapes
    tell which is which, and where there are as many; the other new ones stay as initialised. To the file's head belong
    dense layers (of any name that the model does not have), `replaced_layers`, and what has the shapes of a new layer.

    Args:
        variables: the initialised variables, or their shapes (`jax.ShapeDtypeStruct`).
        new_layers: layers of the model that pretrained files may lack (the head), in order.
        replaced_layers: layers of the file that are meant to stay unused (the head it was trained with).
        depthwise_layers: layers whose kernels Keras stores as [kh, kw, c, m]; here they are [kh, kw, 1, c * m].
        source: the file, for the errors.
        same_classes: False where the source's classifier is known to tell other classes apart: it is left out then.

    Returns:
        New variables, and what became of each leaf.

    Raises:
        WeightsError: a leaf is missing, left over, or of another shape or dtype; all of them are listed.
    """
    wanted, given = _flatten(variables), _flatten(loaded)
    for path in {f"params/{layer}/kernel" for layer in depthwise_layers} & set(given):
        if given[path].ndim == 4:
            given[path] = given[path].reshape(*given[path].shape[:2], 1, -1)
    given, ignored, taken = _replace_head(wanted, given, new_layers, replaced_layers, same_classes)
    kept = {path for path in wanted if _layer(path) in set(new_layers) - set(taken)}
    classifier = taken.get(new_layers[-1]) if new_layers else None
    missing = sorted(set(wanted) - set(given) - kept)
    left_over = sorted(set(given) - set(wanted))
    to_load = sorted(set(wanted) & set(given))
    misfits = [
        f"{path}: the model has {_describe(wanted[path])}, the file {_describe(given[path])}"
        for path in to_load
        if _describe(wanted[path]) != _describe(given[path])
    ]
    if missing or left_over or misfits:
        raise WeightsError(_message(source, recognised(loaded, as_it_is=not new_layers), missing, left_over, misfits))
    merged = {
        collection: {
            layer: {leaf: given.get(f"{collection}/{layer}/{leaf}", value) for leaf, value in leaves.items()}
            for layer, leaves in layers.items()
        }
        for collection, layers in variables.items()
    }
    return merged, Transfer(source, tuple(to_load), tuple(sorted(kept)), tuple(sorted(ignored)), classifier)


def _replace_head(
    wanted: Shapes, given: Flat, new_layers: Sequence[str], replaced_layers: Collection[str], same_classes: bool
) -> tuple[Flat, set[str], dict[str, str]]:
    """The file's leaves with its head renamed to the new one, as far as it fits; the rest of it is left out.

    Returns:
        The leaves to load, the paths in the file that are left out, and the file's layer of each new one that has one.
    """
    if not new_layers:
        return given, set(), {}
    body = {_layer(path) for path in wanted} - set(new_layers)
    shapes = {layer: _leaves(wanted, layer) for layer in new_layers}
    others = {layer: _leaves(given, layer) for layer in dict.fromkeys(map(_layer, given)) if layer not in body}
    candidates = {
        layer: leaves
        for layer, leaves in others.items()
        if layer in replaced_layers or _is_dense(given, layer) or leaves in shapes.values()
    }
    found: dict[str, str] = {}
    for new in new_layers if len(candidates) == len(new_layers) else ():
        fits = [old for old, leaves in candidates.items() if leaves == shapes[new] and old not in found.values()]
        if (new not in fits and len(fits) != 1) or (new == new_layers[-1] and not same_classes):
            break  # what follows learned from the outputs of this one
        found[new] = new if new in fits else fits[0]
    taken = {
        path.replace(f"/{old}/", f"/{new}/"): _as_dense(given[path])
        for new, old in found.items()
        for path in given
        if _layer(path) == old
    }
    rest = {path: array for path, array in given.items() if _layer(path) not in candidates}
    left_out = {path for path in given if _layer(path) in candidates.keys() - set(found.values())}
    return rest | taken, left_out, found


def _leaves(flat: dict[str, Any], layer: str) -> dict[tuple[str, str], str]:
    """Shape and dtype by collection and leaf; a 1x1 convolution's as if it were dense."""
    paths = {path: path.split("/") for path in flat if _layer(path) == layer}
    return {(parts[0], parts[2]): _describe(_as_dense(flat[path])) for path, parts in paths.items()}


def _is_dense(given: Flat, layer: str) -> bool:
    """Whether the file's layer has the arrays of a dense layer and no other."""
    arrays = {path: array for path, array in given.items() if _layer(path) == layer}
    kernel = arrays.get(f"params/{layer}/kernel")
    return (
        kernel is not None and kernel.ndim == 2 and set(arrays) <= {f"params/{layer}/{k}" for k in ("kernel", "bias")}
    )


def _as_dense(array: Any) -> Any:
    """The kernel of a 1x1 convolution, [1, 1, in, out], as that of a dense layer; other arrays as they are."""
    return array[0, 0] if array.ndim == 4 and array.shape[:2] == (1, 1) else array


def _flatten(tree: Variables | Leaves) -> dict[str, Any]:
    return {
        f"{collection}/{layer}/{leaf}": value
        for collection, layers in tree.items()
        for layer, leaves in layers.items()
        for leaf, value in leaves.items()
    }


def _layer(path: str) -> str:
    return path.split("/")[1]


def _describe(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _message(source: str, what: str, missing: list[str], left_over: list[str], misfits: list[str]) -> str:
    what = what or "Check model.name and model.alpha; a whole Keras model of another kind goes in by --exp=keras_ft"
    parts = [f"{source} does not fit the model; nothing was loaded. {what}."]
    for title, rows in (("missing in the file", missing), ("left over in the file", left_over), ("different", misfits)):
        if rows:
            more = [f"… and {len(rows) - 12} more"] if len(rows) > 12 else []
            parts.append("\n    ".join([f"  {title} ({len(rows)}):", *rows[:12], *more]))
    return "\n".join(parts)
