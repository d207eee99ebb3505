"""Where things are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`CNN_JAX_CACHE`, by default ~/.cache/cnn_jax: downloaded weights and compiled programs."""
    return Path(os.environ.get("CNN_JAX_CACHE") or Path.home() / ".cache" / "cnn_jax")
