"""Networks as Keras describes them in its files: read as plain data, turned into layers of this package.

Nothing in a file is executed. `parse` makes an ordered list of nodes of the description, `convert` layers of a node,
`network` the whole network with its classifier.
"""
