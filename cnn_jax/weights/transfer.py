"""Merge loaded weights into a model's variables: everything accounted for, by name, shape and dtype, or an error."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cnn_jax.errors import WeightsError
from cnn_jax.models.chain import Variables
from cnn_jax.weights.leaves import Leaves

Paths = tuple[str, ...]
Flat = dict[str, np.ndarray]
"""{"collection/layer/leaf": array}"""


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
    new_layers: Collection[str],
    replaced_layers: Collection[str],
    depthwise_layers: Collection[str],
    source: str,
    same_classes: bool = True,
) -> tuple[Variables, Transfer]:
    """Put `loaded` in the place of the leaves of the same name.

    The file's classifier, whatever its name, becomes the new layer where it is the only candidate and has its shape;
    otherwise the new layer stays as initialised. Candidates are dense layers (of any name that the model does not have)
    and `replaced_layers`.

    Args:
        variables: the initialised variables, or their shapes (`jax.ShapeDtypeStruct`).
        new_layers: layers of the model that pretrained files may lack (the classifier).
        replaced_layers: layers of the file that are meant to stay unused (the classifier it was trained with).
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
    kept = {path for path in wanted if _layer(path) in new_layers}
    given, ignored, classifier = _replace_classifier(wanted, given, new_layers, replaced_layers, same_classes)
    if classifier is not None:
        kept = set()
    missing = sorted(set(wanted) - set(given) - kept)
    left_over = sorted(set(given) - set(wanted))
    to_load = sorted(set(wanted) & set(given))
    misfits = [
        f"{path}: the model has {_describe(wanted[path])}, the file {_describe(given[path])}"
        for path in to_load
        if _describe(wanted[path]) != _describe(given[path])
    ]
    if missing or left_over or misfits:
        raise WeightsError(_message(source, missing, left_over, misfits))
    merged = {
        collection: {
            layer: {leaf: given.get(f"{collection}/{layer}/{leaf}", value) for leaf, value in leaves.items()}
            for layer, leaves in layers.items()
        }
        for collection, layers in variables.items()
    }
    return merged, Transfer(source, tuple(to_load), tuple(sorted(kept)), tuple(sorted(ignored)), classifier)


def _replace_classifier(
    wanted: Flat, given: Flat, new_layers: Collection[str], replaced_layers: Collection[str], same_classes: bool
) -> tuple[Flat, set[str], str | None]:
    """The file's leaves with its classifier renamed to the new layer, or left out where that does not fit.

    Returns:
        The leaves to load, the paths in the file that are left out, and the name of the classifier in the file.
    """
    if not new_layers:
        return given, set(), None
    body = {_layer(path) for path in wanted} - set(new_layers)
    others = {_layer(path) for path in given} - body
    candidates = {layer for layer in others if layer in replaced_layers or _is_dense(given, layer)}
    taken = {path for path in given if _layer(path) in candidates}
    rest = {path: array for path, array in given.items() if path not in taken}
    if same_classes and len(candidates) == len(new_layers) == 1:
        (old,), (new,) = candidates, new_layers
        leaves = {path.replace(f"/{old}/", f"/{new}/"): _as_dense(given[path]) for path in taken}
        shapes = {path: _describe(array) for path, array in wanted.items() if _layer(path) == new}
        if {path: _describe(array) for path, array in leaves.items()} == shapes:
            return rest | leaves, set(), old
    return rest, taken, None


def _is_dense(given: Flat, layer: str) -> bool:
    """Whether the file's layer has the arrays of a dense layer and no other."""
    arrays = {path: array for path, array in given.items() if _layer(path) == layer}
    kernel = arrays.get(f"params/{layer}/kernel")
    return (
        kernel is not None and kernel.ndim == 2 and set(arrays) <= {f"params/{layer}/{k}" for k in ("kernel", "bias")}
    )


def _as_dense(array: np.ndarray) -> np.ndarray:
    """The kernel of a 1x1 convolution, [1, 1, in, out], as that of a dense layer; other arrays as they are."""
    return array[0, 0] if array.ndim == 4 and array.shape[:2] == (1, 1) else array


def _flatten(tree: Variables | Leaves) -> Flat:
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
