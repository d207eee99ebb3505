"""The epoch that solves a run's classifier: from the cached features to the state after it."""

from collections.abc import Callable
from dataclasses import fields, replace

import jax.numpy as jnp
import numpy as np

from cnn_jax.config import Config, OptimizerConfig
from cnn_jax.errors import RunFailed
from cnn_jax.models.head import HEAD
from cnn_jax.training.features.feature_cache import Features
from cnn_jax.training.freezing import merge
from cnn_jax.training.phases import Phase
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.setup import Job
from cnn_jax.training.solver import (
    HELD_OUT,
    STRENGTHS,
    Problem,
    Solution,
    Trial,
    best,
    held_out,
    strength_of,
    strengths,
)
from cnn_jax.training.state import Totals, TrainState, moving


def unused(config: Config) -> list[str]:
    """Settings that do nothing where the classifier is solved, as `field=value`, but for those left as they are."""
    chosen = {
        f"optimizer.{field.name}": getattr(config.optimizer, field.name)
        for field in fields(OptimizerConfig)
        if field.name not in ("name", "head_name", "l2") and getattr(config.optimizer, field.name) != field.default
    }
    if config.model.dropout:
        chosen["model.dropout"] = config.model.dropout
    if config.data.steps_per_epoch is not None:
        chosen["data.steps_per_epoch"] = config.data.steps_per_epoch
    return [f"{name}={value}" for name, value in chosen.items()]


def solve(job: Job, features: Features, reporter: Reporter, stopped: Callable[[], bool]) -> Solution | None:
    """The classifier that is best for the training images; None where `stopped`.

    Raises:
        RunFailed: the features are not finite.
    """
    labels, views = job.dataset.splits["train"].labels, features.training
    rows = np.concatenate([np.asarray(view) for view in views])
    options, classes = job.options, len(job.dataset.classes)
    problem = Problem(
        rows, np.tile(labels, len(views)), classes, job.mesh, options.label_smoothing, options.class_weights
    )
    l2, why = job.config.optimizer.l2, "as configured"
    start, tried, out = None, list[Trial](), held_out(labels, job.config.seed)
    if l2 is None and not out.any():
        l2 = strength_of(1.0, len(rows), classes)
        why = f"scikit-learn's default, with fewer than {HELD_OUT} images of each class"
    elif l2 is None:
        with reporter.bar("solve", len(STRENGTHS), "strengths") as bar:
            for trial in strengths(problem, np.tile(out, len(views))):
                if stopped():
                    return None
                tried.append(trial)
                bar.advance(1, f"l2={trial.l2:.2g}: loss {trial.loss:.4f}")
        chosen = best(tried)
        l2, start = chosen.l2, chosen.point
        why = f"the best of {len(tried)} for {out.sum():,} held-out training images"
    found = problem.solution(l2, start, sum(trial.iterations for trial in tried))
    if not np.isfinite([found.loss, found.gradient_norm]).all():
        raise RunFailed(
            f"the classifier has a loss of {found.loss}: the features are not finite. Look at the weights and the "
            "images; nothing was saved"
        )
    reporter.line(
        f"solved     in {found.iterations} iterations, l2={found.l2:.3g} "
        f"(scikit-learn's C={strength_of(found.l2, len(rows), classes):.3g}): {why}"
    )
    if not found.is_optimum:
        reporter.line(
            "           short of the optimum: the search ended at its bound of iterations. A larger --optimizer.l2 "
            "needs fewer"
        )
    return found


def solved_state(job: Job, phase: Phase, state: TrainState, found: Solution) -> TrainState:
    """The state at the end of the epoch."""
    images = len(job.dataset.splits["train"])
    params = merge(state.params, {HEAD: found.classifier._asdict()})
    totals = Totals(
        jnp.float32(found.loss * images),
        jnp.int32(round(found.accuracy * images)),
        jnp.int32(images),
        jnp.float32(found.gradient_norm),
        jnp.int32(1),
    )
    after = replace(state, step=jnp.int32(phase.last_epoch * job.steps_per_epoch), params=params, totals=totals)
    if state.average is not None:  # there are no steps to average
        after = replace(after, average=moving(after.variables, phase.freezing))
    return job.mesh.replicate(after)
