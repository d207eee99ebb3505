"""Made-up predictions."""

import numpy as np
from hypothesis import strategies as st

from cnn_jax.evaluation.metrics import Predictions


def random_predictions(n: int, classes: int, present: int, seed: int, step: float = 0.0) -> Predictions:
    """Logits somewhat right, with examples of only the first `present` classes; multiples of `step`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, min(present, classes), n, dtype=np.int32)
    logits = rng.normal(0, 2, (n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return Predictions(np.round(logits / step) * np.float32(step) if step else logits, labels)


PREDICTIONS = st.builds(
    random_predictions,
    st.integers(1, 200),
    st.integers(2, 12),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 2.0]),
)


def names(predictions: Predictions) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(predictions.logits.shape[1]))


def ids(predictions: Predictions) -> tuple[str, ...]:
    return tuple(f"{i}.png" for i in range(len(predictions.labels)))
