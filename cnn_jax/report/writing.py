"""The report at the end of a command: what is already done never fails because of it."""

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import wait
from pathlib import Path

from cnn_jax.data.sources import Split
from cnn_jax.evaluation import record
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.evaluation.record import Evaluation
from cnn_jax.report.page import write, write_unmeasured
from cnn_jax.runtime.compiling import beside
from cnn_jax.training import trained_run
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.processes import is_main
from cnn_jax.training.run_evaluation import predict, remember, summarised
from cnn_jax.training.trained_run import TrainedRun

Say = Callable[[str], None]


def attempt(run: TrainedRun, evaluation: Evaluation, say: Say, output: Path | None = None) -> None:
    """Write the report of an evaluation and say where it is, or in one line why it could not be written.

    Args:
        output: where the evaluation is, see `cnn_jax.report.write`.
    """
    with _told(say):
        found = evaluation
        path = write(run, found.split, found.examples, found.predictions, found.record, output)
        say(f"report     {path}")


def after_training(
    workdir: Path, validation: Split, reporter: Reporter, best: tuple[int, Predictions] | None = None
) -> None:
    """Evaluate the best checkpoint of a completed run, and write evaluation-validation.json and the report.

    What `predict` runs on a photograph is compiled beside that, so that the first one named does not wait for it.

    Args:
        validation: the validation split of the run; decoded already, it is not decoded again.
        best: the step of a checkpoint, and what it says of them, where the training knows that.
    """
    with _told(reporter.line):
        run = trained_run.load(workdir)
        compiled = [beside(run.classifier().compile)] if is_main() else []
        if best is not None and best[0] == run.step:
            predictions = best[1]
            remember(run, validation, predictions, reporter)
        else:
            predictions = predict(run, validation, reporter, "evaluate validation")
        evaluation = summarised(run, run.config.data.dataset, "validation", validation, predictions)
        if is_main():
            files = (run.directory / name for name in ("evaluation-validation.json", "predictions-validation.npz"))
            record.write(evaluation, *files)
            attempt(run, evaluation, reporter.line)
        wait(compiled)


def without_validation(workdir: Path, training: Split, say: Say) -> None:
    """Write the report of a completed run without validation images: nothing is measured for it.

    Args:
        training: what the run was trained on.
    """
    with _told(say):
        run = trained_run.load(workdir)
        if is_main():
            say(f"report     {write_unmeasured(run, training)}")


@contextlib.contextmanager
def _told(say: Say) -> Generator[None, None, None]:
    """An error becomes a line. It may be of any kind: the run, or the evaluation, is whole without its report."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        say(f"report     not written: {type(error).__name__}: {reason}")
