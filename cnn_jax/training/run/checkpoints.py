"""Checkpoints of a run: the newest and the best, each whole or absent, with all that is needed to read them.

The only module that knows Orbax. A checkpoint directory is written under a temporary name and renamed, so a kill at
any instant leaves the ones before it. Each holds `variables` (what inference needs), `training` (the rest of the
state) and `meta` (configuration, class names, normalisation, versions, progress).
"""

import contextlib
import json
import logging
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint.experimental import v1 as ocp

from cnn_jax.errors import RunError, RunFailed, UserError
from cnn_jax.io.writing import is_remote, write_atomically
from cnn_jax.models.chain import Variables
from cnn_jax.training.run import damage
from cnn_jax.training.run.processes import fail_together, is_main
from cnn_jax.training.run.unfinished import end_unfinished

Meta = dict[str, Any]

COMMITTED = "commit_success.txt"
"""Orbax's mark of a whole checkpoint where folders cannot be renamed in one step."""

METRICS = "metrics"
"""Orbax's file with the accuracy of a checkpoint."""

LONGEST_REASON = 300
"""Characters of an error of TensorStore, which goes on with the specification of the array."""


def _rank(metrics: Meta) -> tuple[float, float]:
    return metrics["accuracy"], -metrics["loss"]


class Checkpoints:
    """The checkpoints in `directory`, by step. Close it, or use it as a context manager."""

    def __init__(self, directory: Path, keep: int = 2, *, reading: bool = False) -> None:
        """`keep` is the number of newest checkpoints to keep; the best is kept besides.

        With `reading`, what looks abandoned is left alone: the run may be saving at this moment.

        Of several processes all call every method together, and process 0 writes what all have alike.
        """
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every file that it touches
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # and each array of a damaged file on its own
        self._directory = directory.absolute()
        if is_remote(directory):
            from cnn_jax.io.remote import require_checkpoint_client

            require_checkpoint_client(directory.parent)
        self._keep, self._reading = keep, reading
        self._unrated = damage.in_checkpoints(self._directory)
        self._checkpointer: Any = None  # Orbax would read the accuracies of all of them
        if not self._unrated:
            self._checkpointer = self._open()

    def _open(self) -> Any:
        policies = ocp.training.preservation_policies
        try:
            return ocp.training.Checkpointer(
                str(self._directory),
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(self._keep),
                        policies.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False),
                    ]
                ),
                cleanup_tmp_directories=not self._reading,
            )
        except Exception as error:  # storages have errors of their own
            if not isinstance(error, OSError | ValueError) and not is_remote(self._directory):
                raise
            raise RunError(f"the checkpoints in {self._directory} cannot be read: {_reason(error)}") from error

    def mend(self) -> dict[Path, Path]:
        """Move what is damaged among the files that Orbax reads of all checkpoints at once; until then none is saved.

        Accuracies are written anew: the metadata of their checkpoints have them too.

        Returns:
            What was moved, and where it is.
        """
        if self._checkpointer is not None:
            return {}
        steps, moved = self.steps(), dict[Path, Path]()
        damaged = [path for path in self._unrated if self._step_of(path) in steps]
        accuracies = {}
        for path in damaged:
            with contextlib.suppress(RunError, KeyError, TypeError):  # not to be read either: it is met in its turn
                last = self.meta(self._step_of(path))["progress"]["last"]
                accuracies.update({path: json.dumps(last)} if path.name == METRICS and last else {})
        with fail_together():
            for path in damaged if is_main() else ():
                place = damage.new_place(self._directory, f"{self._step_of(path)}-{path.name}")
                moved[path] = path.rename(place)
                if path in accuracies:
                    write_atomically(path, accuracies[path])
        self._checkpointer = self._open()
        return moved

    def _step_of(self, path: Path) -> int:
        """The step of the checkpoint that the file belongs to."""
        return int(path.relative_to(self._directory).parts[0])

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if jax.process_count() > 1 and not isinstance(error, UserError | RunFailed | None):
            return  # closing waits for the other processes, and one of them may be gone
        if self._checkpointer is None:
            return
        try:
            self._checkpointer.close()
        except Exception as failed:  # of the last save in the background; see `wait`
            if error is None:
                raise self._not_written(failed) from failed

    def steps(self) -> list[int]:
        """The steps of all checkpoints, oldest first."""
        if self._checkpointer is None:
            return whole_steps(self._directory)
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step with the best validation accuracy, then the lowest loss, then the newest.

        Raises:
            RunError: of one of them it cannot be read.
        """
        if self._checkpointer is None:
            bad = sorted({self._step_of(path) for path in self._unrated})
            whole = ", ".join(f"{self._directory}/{step}" for step in self.steps() if step not in bad)
            raise RunError(
                f"which checkpoint in {self._directory} is the best cannot be known: the record of the accuracy is "
                f"damaged in {', '.join(map(str, bad))}. The command that trained the run mends it; or name a "
                "checkpoint with --checkpoint" + (f": {whole}" if whole else "")
            )
        rated = [c for c in self._checkpointer.checkpoints if c.metrics]
        return max(rated, key=lambda c: (*_rank(c.metrics), c.step)).step if rated else self.latest()

    def save(self, step: int, saved: dict[str, Any], meta: Meta, metrics: Meta | None) -> None:
        """Write a checkpoint in the background; one that is still being written is waited for first.

        Args:
            saved: `variables` and `training`, see `TrainState.checkpoint`; copied before this returns, so that the
                next step may take their memory.
            metrics: accuracy and loss; None in the middle of an epoch.

        Raises:
            RunFailed: this or the one before could not be written; what was saved earlier is untouched.
        """
        if step in self.steps():
            return
        copied = _copied(saved)
        checksums = {name: _checksum(tree) for name, tree in saved.items()}
        meta = {**meta, "checksums": {**checksums, "meta": _text_checksum(meta)}}
        try:
            self._checkpointer.save_checkpointables_async(step, {**copied, "meta": meta}, metrics=metrics)
        except Exception as error:  # Orbax and TensorStore have no common class for disks that are full
            raise self._not_written(error) from error

    def wait(self) -> None:
        """Until everything is written; raises RunFailed as `save`."""
        try:
            self._checkpointer.wait()
        except Exception as error:
            raise self._not_written(error) from error

    def _not_written(self, error: Exception) -> RunFailed:
        whole = whole_steps(self._directory)
        good = f"the newest good one is of step {whole[-1]}" if whole else "there is none yet"
        return RunFailed(
            f"a checkpoint could not be written to {self._directory}: {error}\n  {good[0].upper()}{good[1:]}. "
            "Make room or mend the permissions, then start the same command again"
        )

    def set_aside(self, steps: list[int]) -> Path:
        """Move the checkpoints of these steps to the folder `damaged` beside this one, which is returned."""
        with fail_together():
            if is_main():
                for step in steps:
                    (self._directory / str(step)).rename(damage.new_place(self._directory, str(step)))
        if self._checkpointer is not None:
            self._checkpointer.reload()
        return self._directory.parent / damage.FOLDER

    def restore(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """What was saved at `step`; `like`, of the same form, gives structure, shapes, dtypes and shardings.

        Raises:
            RunError: the checkpoint is damaged or of another structure.
        """
        loaded = self._checked(step, jax.tree.map(_abstract, like))
        return {name: loaded[name] for name in like}

    def restore_variables(self, step: int, like: Variables) -> Variables:
        """Only what inference needs, as `restore`."""
        return self._checked(step, {"variables": jax.tree.map(_abstract, like)})["variables"]

    def meta(self, step: int) -> Meta:
        """The metadata saved at `step`, as `restore`."""
        return self._checked(step, {})["meta"]

    def _checked(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        """`_load` with the metadata, all held against their checksums: the files themselves have none."""
        loaded = self._load(step, {**abstract, "meta": None})
        meta = loaded["meta"] = loaded["meta"] if isinstance(loaded["meta"], dict) else {}
        expected = meta.pop("checksums", {})  # checkpoints of the first weeks have none
        for name, tree in loaded.items():
            found = _text_checksum(tree) if name == "meta" else _checksum(tree)
            if name in expected and found != expected[name]:
                where, others = self._directory / str(step), self._others(step)
                raise RunError(f"the checkpoint {where} cannot be read: {name} are not what was saved{others}")
        return loaded

    def _load(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        try:
            damage.require_files(self._directory / str(step))
            self._require_shapes(step, abstract)
            return ocp.load_checkpointables(str(self._directory / str(step)), abstract)
        except Exception as error:  # Orbax and TensorStore have no common class for damaged files
            end_unfinished()
            where = self._directory / str(step)
            raise RunError(f"the checkpoint {where} cannot be read: {_reason(error)}{self._others(step)}") from error

    def _require_shapes(self, step: int, abstract: dict[str, Any]) -> None:
        """Raise ValueError where an array has another shape, before any is read: Orbax would read the others first."""
        arrays = {name: tree for name, tree in abstract.items() if tree is not None}
        saved = ocp.checkpointables_metadata(str(self._directory / str(step))).metadata if arrays else {}
        for name, tree in arrays.items():
            found = _shapes(saved.get(name))
            for path, shape in _shapes(tree).items():
                if found.get(path, shape) != shape:
                    raise ValueError(f"{name}/{path} is {list(found[path])} there, and {list(shape)} is asked for")

    def _others(self, step: int) -> str:
        others = ", ".join(str(other) for other in self.steps() if other != step)
        return f"; other checkpoints there: {others}" if others else ""


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _checksum(tree: Any) -> int:
    """CRC-32 over the bytes of all arrays, in the order of their paths."""
    checksum = 0
    for leaf in jax.tree.leaves(tree):
        array = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf  # all devices have all of it
        checksum = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, checksum)
    return checksum


def _text_checksum(meta: Meta) -> int:
    """CRC-32 over what JSON is made of."""
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def whole_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in `directory` that were written to their end, oldest first, without opening them.

    On this machine the others have other names; remote ones lack a file that is written last.
    """
    if not directory.exists():
        return []
    found = [path for path in directory.iterdir() if path.name.isdigit()]  # `glob` passes by what cannot be read
    if is_remote(directory):
        found = [path for path in found if (path / COMMITTED).exists()]
    return sorted(int(path.name) for path in found)


def _reason(error: BaseException) -> str:
    """What began the chain of errors: Orbax wraps it in pages about its own handlers."""
    while (before := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = before
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its path, which is the same for tuples and for the lists that are read back."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=getattr(array, "sharding", None))
