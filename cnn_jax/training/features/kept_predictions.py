"""What a network has said of images already: evaluating the same weights on the same images again costs nothing."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32, Int64

from cnn_jax.data.sources import Split
from cnn_jax.io.files import cache_folder
from cnn_jax.io.store import RowStore
from cnn_jax.training.features.identity import hardware, identities
from cnn_jax.training.run.processes import all_of_them
from cnn_jax.training.trained_run import TrainedRun

MEGABYTES = 256
"""The bound of all that is kept: 67 million logits."""


def folder() -> Path:
    """Where predictions are kept."""
    return cache_folder() / "predictions"


class KeptPredictions:
    """Logits by what they depend on: what each image file holds, the weights and layers, the kind of processor."""

    def __init__(self, run: TrainedRun, examples: Split, flip_averaging: bool) -> None:
        self._examples, self._classes = examples, len(run.classes)
        network = identities(run.model, len(run.model.layers), run.variables, run.resize)[-1]
        key = hashlib.sha256(json.dumps([network, flip_averaging, hardware()]).encode()).hexdigest()
        self._hashes = examples.images.hashes()
        self._store = RowStore(folder() / key, (self._classes,), np.dtype(np.float32), MEGABYTES)

    def read(self) -> tuple[Float32[np.ndarray, "n classes"], Int64[np.ndarray, " m"]]:
        """Logits in the order of the examples, and which are missing.

        Of several processes all miss the same ones.
        """
        logits = np.empty((len(self._examples), self._classes), np.float32)
        missing = self._store.read(self._hashes, logits)
        if not all_of_them(not len(missing)) and jax.process_count() > 1:
            missing = np.arange(len(logits))
        return logits, missing

    def add(self, indices: Int64[np.ndarray, " m"], logits: Float32[np.ndarray, "m classes"]) -> str:
        """Keep the logits of these examples; the reason where the disk does not take them, else an empty text."""
        with self._store.adding() as adding:
            adding.add(self._hashes[indices], logits)
        return adding.reason
