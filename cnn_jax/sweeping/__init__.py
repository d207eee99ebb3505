"""Runs that differ in freeze point, learning rate and seed, side by side."""
