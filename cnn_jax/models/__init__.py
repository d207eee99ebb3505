"""Networks as chains of named layers; the only part that knows Flax."""
