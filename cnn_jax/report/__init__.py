"""The report of a run: one page that holds what the run directory knows."""

from cnn_jax.report.doors import after_training, attempt, without_validation
from cnn_jax.report.page import FILE, write

__all__ = ["FILE", "after_training", "attempt", "without_validation", "write"]
