"""Predictions on every example, and the metrics of them."""
