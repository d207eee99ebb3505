"""A learning rate that falls where the validation loss no longer does, as with Keras' ReduceLROnPlateau."""

from dataclasses import replace

import numpy as np

from cnn_jax.config import OptimizerConfig
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.state import TrainState

LEAST_FALL = 1e-4
"""Of the loss below the lowest so far, for an epoch to count as better: Keras' `min_delta`."""


def after_epoch(
    config: OptimizerConfig, mesh: Mesh, state: TrainState, progress: Progress
) -> tuple[TrainState, Progress]:
    """The state with the learning rate of the next epoch, by the validation that has just ended.

    After `plateau_epochs` that are no better, the rate is multiplied by `decay_factor`, down to `final_fraction` of the
    first one. The state holds the rate and `progress` the count, so a run goes on with both.
    """
    schedule = state.settings.schedule
    assert schedule is not None
    assert progress.last is not None
    lowest, waited = progress.plateau or (np.inf, 0)
    if progress.last["loss"] < lowest - LEAST_FALL:
        return state, replace(progress, plateau=(progress.last["loss"], 0))
    waited += 1
    rate, least = np.float32(schedule.peak), np.float32(config.learning_rate * config.final_fraction)
    if waited >= config.plateau_epochs and rate > least:
        waited = 0
        lower = mesh.replicate(np.maximum(rate * np.float32(config.decay_factor), least))
        state = replace(state, settings=replace(state.settings, schedule=replace(schedule, peak=lower)))
    return state, replace(progress, plateau=(lowest, waited))
