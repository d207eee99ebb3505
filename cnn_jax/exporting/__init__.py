"""Trained networks as files for other programs: how each format is written, read back and held against its run."""
