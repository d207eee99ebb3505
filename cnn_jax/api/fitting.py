"""A run from its configuration to its report, as the command and `cnn_jax.fit` do it."""

from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.report.advice import advice
from cnn_jax.runtime.clock import REPORT, Clock
from cnn_jax.training import console, loop
from cnn_jax.training.loop import Outcome
from cnn_jax.training.run import logs
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.processes import is_main


def fit_and_report(config: Config, workdir: Path, reporter: Reporter, clock: Clock, report: bool) -> Outcome:
    """`cnn_jax.training.loop.fit`, then what came of it on the console and, of a completed run, its report.

    Args:
        clock: of this start; what the report took is in result.json as well.
    """
    outcome = loop.fit(config, workdir, reporter, clock)
    with clock.part(REPORT):
        console.conclude(outcome.result, reporter)
        if outcome.result["status"] == "completed" and is_main():
            predictions = None if outcome.best is None else outcome.best[1]
            for line in advice(config, logs.read(workdir), predictions, outcome.classes):
                reporter.line(f"advice     {line}")
        if report and outcome.result["status"] == "completed":
            from cnn_jax import report as reports  # scikit-learn, SciPy and matplotlib load for it alone

            if outcome.validation is None:
                reports.without_validation(workdir, outcome.splits["train"], reporter.line)
            else:
                reports.after_training(workdir, outcome.validation, reporter, outcome.best)
        loop.write_result(workdir, outcome.result, clock)
    reporter.line(f"time       {clock.wall():.1f} s: {clock}")
    return outcome
