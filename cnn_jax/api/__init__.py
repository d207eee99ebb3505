"""What the commands and Python programs share: train, load a network, make paths absolute.

Read fitting.py, then inference.py.
"""
