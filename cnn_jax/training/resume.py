"""Going on where an earlier start stopped, from what of its run directory is whole."""

import json
from dataclasses import asdict
from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.augment.device import side
from cnn_jax.errors import DataError, RunError
from cnn_jax.io.writing import write_atomically
from cnn_jax.runtime.clock import Clock
from cnn_jax.training.run import damage, run_directory
from cnn_jax.training.run.checkpoints import Checkpoints, Meta
from cnn_jax.training.run.lock import Lock
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.processes import fail_together, is_main, require_alike
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.setup import Job, fingerprints, set_up
from cnn_jax.training.shared import Shared
from cnn_jax.training.state import TrainState
from cnn_jax.weights import keras_description

SPLITS = "split.json"


def set_up_run(
    config: Config, workdir: Path, lock: Lock, reporter: Reporter, shared: Shared | None, clock: Clock
) -> tuple[Job, bool]:
    """The job, and whether it goes on from an earlier start; every process has the same, or raises the same error.

    Raises:
        UserError: see `set_up`; the directory holds something else; another process trains there.
    """
    with fail_together():
        if is_main() and run_directory.is_run(workdir):
            lock.take()
        goes_on = run_directory.check(workdir, config)
        job = (
            _as_begun(config, workdir, reporter, shared, clock)
            if goes_on
            else set_up(config, None, reporter, shared, clock)
        )
    if job.mesh.processes > 1:
        require_alike(fingerprints(job))
    return job, goes_on


def _as_begun(config: Config, workdir: Path, reporter: Reporter, shared: Shared | None, clock: Clock) -> Job:
    """The job of a run that goes on, with its splits as split.json has them.

    Where that file is damaged, they are drawn by the seed as at the first start. Checkpoints know the hash of what
    was drawn then, so that no validation image becomes one to train on.
    """
    try:
        return set_up(config, workdir / SPLITS, reporter, shared, clock)
    except DataError as error:
        job = _drawn_anew(config, workdir, reporter, shared, clock)
        if job is None:
            raise error
        return job


def _drawn_anew(config: Config, workdir: Path, reporter: Reporter, shared: Shared | None, clock: Clock) -> Job | None:
    """The job with splits drawn as at the first start; None where they are not the same, or cannot be drawn."""
    wanted = _progress(run_directory.recorded_meta(workdir)).images
    try:
        job = set_up(config, None, reporter, shared, clock)
    except DataError:
        return None
    return job if splits.digest(job.dataset) == wanted else None


def write_records(job: Job, workdir: Path, goes_on: bool, reporter: Reporter) -> None:
    """What the run directory says of its data and weights; where a run goes on, what is missing there."""
    contents = {"classes.json": json.dumps(job.dataset.classes)}
    if job.keras_layers is not None:
        contents[keras_description.RECORD] = job.keras_layers
    if job.transfer is not None:
        contents["weights.json"] = json.dumps(asdict(job.transfer), indent=1)
    if job.dataset.left_out:
        contents["left_out.json"] = json.dumps(job.dataset.left_out, indent=1)
    if job.left_out:
        contents["unreadable.json"] = json.dumps(job.left_out, indent=1)
    if job.recorded_splits is None:  # only then made: it names every image
        if goes_on:
            damage.move(workdir / SPLITS, "it does not name the images that the run began with", reporter.line)
        splits.write(job.dataset, workdir / SPLITS)
    for name, content in contents.items():
        if not goes_on or not (workdir / name).exists():
            write_atomically(workdir / name, content)
    listed = [name for names in job.left_out.values() for name in names]
    if listed:
        reporter.line(
            f"{len(listed)} images cannot be read and are left out (unreadable.json), the first is {listed[0]}"
        )


def newest_state(job: Job, checkpoints: Checkpoints, reporter: Reporter) -> tuple[TrainState, Progress, int | None]:
    """The state to go on from: of the newest checkpoint that can be read, else the initial one.

    Raises:
        RunError: there are checkpoints, but none of them can be read; or split.json is not that of the run.
    """
    bad: dict[int, RunError] = {}
    teacher = "" if job.teacher is None else job.teacher.content
    for step in reversed(checkpoints.steps()):
        try:
            with fail_together():
                progress = _progress(checkpoints.meta(step))
                like = job.initial_state(progress.phase)
                freezing = job.phases[progress.phase].freezing
                state = TrainState.from_checkpoint(checkpoints.restore(step, like.checkpoint(freezing)), freezing)
        except RunError as error:
            bad[step] = error
            continue
        if bad:
            folder = checkpoints.set_aside(list(bad))
            for damaged, reason in bad.items():
                reporter.line(f"damaged    the checkpoint of step {damaged}, moved to {folder}: {reason}")
        if progress.images not in ("", splits.digest(job.dataset)):
            raise RunError(
                f"{SPLITS} in the run directory is not what the run began with: put the right one back; or move it "
                "away, and the splits are drawn anew, if the images are still the same"
            )
        if progress.teacher != teacher:
            raise RunError(
                f"train.teacher={job.config.train.teacher} is not the network that the run began with, but "
                "another, or was trained on since: put that one back, or begin anew in another --workdir"
            )
        for path, place in checkpoints.mend().items():
            reporter.line(f"damaged    {path}, moved to {place}")
        return state, progress, step
    if bad:
        raise RunError(f"no checkpoint can be read; give another --workdir to begin anew. The newest: {bad[max(bad)]}")
    with job.clock.part("initial state"):
        state = job.initial_state()
    with job.clock.part("hashing"):
        digest, images = job.phases[0].freezing.digest(state.variables), splits.digest(job.dataset)
    begun = Progress(frozen_digest=digest, augments=side(job.config.data.augment), images=images, teacher=teacher)
    return state, begun, None


def _progress(meta: Meta) -> Progress:
    """How far the run was; RunError where the metadata do not say."""
    try:
        return Progress(**meta["progress"])
    except (KeyError, TypeError) as error:
        raise RunError(f"it does not say how far the run was: {type(error).__name__}: {error}") from error
