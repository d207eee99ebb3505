"""Outputs of frozen layers and of whole networks, computed once for each image and kept.

Read feature_cache.py first.
"""
