"""Readers of weights files, in Python and under limits, since such a file is not trusted.

Read hdf5.py, then keras_v2.py and keras_v3.py for Keras' two layouts.
"""
