"""Predictions on every example, and the metrics of them.

Read network.py and classifier.py for how a network is asked, evaluator.py for a whole split, metrics.py for the
numbers, record.py for the file that holds them.
"""
