"""Runs that differ in freeze point, learning rate and seed, side by side.

Read grid.py for what is run, running.py for how, rows.py for what is kept of each; supervision.py is the process that
goes on where a run takes its process with it.
"""
