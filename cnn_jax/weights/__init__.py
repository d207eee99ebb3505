"""Pretrained weights: where they are, how they are read, how they become the variables of a model.

Read pretrained.py first: it finds (locate.py, catalog.py), reads (readers/) and merges (transfer.py) a file.
verify.py holds the result against Keras, layer by layer.
"""
