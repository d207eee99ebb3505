"""Runs side by side: what they were told, what they reached, and on which images they differ.

Read runs.py, which reads run directories, then pairs.py, which tests differences; table.py is `cnn_jax.runs`.
"""
