"""The run directory and the processes that share it: checkpoints, lock, logs, trackers, damage.

Read run_directory.py, then checkpoints.py.
"""
