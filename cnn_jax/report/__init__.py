"""The report of a run: one page that holds what the run directory knows."""

from cnn_jax.report.page import FILE, write
from cnn_jax.report.writing import after_training, attempt, without_validation

__all__ = ["FILE", "after_training", "attempt", "without_validation", "write"]
