"""Networks as chains of named layers; the only part that knows Flax.

Read layers.py, chain.py and model.py, then an architecture. building.py makes the model of a configuration,
keras_graph/ that of a Keras file, ops/ the arithmetic that is fast on CPUs.
"""
