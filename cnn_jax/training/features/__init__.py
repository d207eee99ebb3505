"""Outputs of frozen layers and of whole networks, computed once for each image and kept.

Read plan.py, which decides whether, then identity.py and feature_cache.py, which find and compute them.
"""
