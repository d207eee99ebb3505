"""Pretrained weights: where they are, how they are read, how they are merged."""
