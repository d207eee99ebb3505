"""Train and fine-tune convolutional image classifiers in JAX."""
