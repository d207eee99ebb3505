"""Checkpoints of a run: the newest and the best, each whole or absent, with all that is needed to read them.

The only module that knows Orbax. A checkpoint directory is written under a temporary name and renamed, so a kill at
any instant leaves the ones before it. Each holds `variables` (what inference needs), `training` (the rest of the
state) and `meta` (configuration, class names, normalisation, versions, progress).
"""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from orbax.checkpoint.experimental import v1 as ocp

from cnn_jax.errors import RunError
from cnn_jax.models.chain import Variables
from cnn_jax.training.state import TrainState

KEEP_LATEST = 2
"""The newest, and one more in case its files get damaged."""

Meta = dict[str, Any]


def _rank(metrics: Meta) -> tuple[float, float]:
    return metrics["accuracy"], -metrics["loss"]


class Checkpoints:
    """The checkpoints in `directory`, by step. Close it, or use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every file that it touches
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            directory.absolute(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(KEEP_LATEST),
                    policies.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpointer.close()

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def best(self) -> int | None:
        """The step with the best validation accuracy, then the lowest loss, then the newest."""
        rated = [c for c in self._checkpointer.checkpoints if c.metrics]
        return max(rated, key=lambda c: (*_rank(c.metrics), c.step)).step if rated else self.latest()

    def save(self, state: TrainState, meta: Meta, metrics: Meta | None) -> None:
        """Write the state under its step; `metrics` (accuracy and loss) are None in the middle of an epoch."""
        step = int(state.step)
        if any(checkpoint.step == step for checkpoint in self._checkpointer.checkpoints):
            return
        training = {k: v for k, v in state.as_dict().items() if k not in ("params", "batch_stats")}
        self._checkpointer.save_checkpointables(
            step, {"variables": state.variables, "training": training, "meta": meta}, metrics=metrics
        )

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at `step`; `like` gives its structure, shapes, dtypes and shardings.

        Raises:
            RunError: the checkpoint is damaged or of another structure.
        """
        abstract = jax.tree.map(_abstract, like)
        training = {k: v for k, v in abstract.as_dict().items() if k not in ("params", "batch_stats")}
        loaded = self._load(step, {"variables": abstract.variables, "training": training})
        return TrainState(**loaded["training"], **loaded["variables"])

    def restore_variables(self, step: int, like: Variables) -> Variables:
        """Only what inference needs, as `restore`."""
        return self._load(step, {"variables": jax.tree.map(_abstract, like)})["variables"]

    def meta(self, step: int) -> Meta:
        """The metadata saved at `step`, as `restore`."""
        return self._load(step, {"meta": None})["meta"]

    def _load(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._checkpointer.load_checkpointables(step, abstract)
        except Exception as error:  # Orbax and TensorStore have no common class for damaged files
            where = self._checkpointer.directory / str(step)
            raise RunError(f"the checkpoint {where} cannot be read: {type(error).__name__}: {error}") from error


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=getattr(array, "sharding", None))
