"""Operations of layers, in the forms that XLA:CPU runs fast; each equals the plain form and is held against it.

Read convolution.py first: it picks a form by shape.
"""
