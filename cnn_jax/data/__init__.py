"""From files to batches; with io/, the only part that knows TensorFlow.

Read sources/ for what a data set is, splits.py, sampler.py for the order, stream.py for batches of images and
array_batches.py for batches of cached features; preprocess.py and augment/ are what happens to an image on the way.
"""
