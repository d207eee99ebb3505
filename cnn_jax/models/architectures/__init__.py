"""The networks: a function each that returns the layers.

Read vgg.py, the shortest, then registry.py, the table of all.
"""
