"""The names of ImageNet's 1000 classes, from the file that Keras publishes."""

import json

from cnn_jax.errors import WeightsError
from cnn_jax.weights.catalog import CLASS_INDEX
from cnn_jax.weights.locate import find_or_download

HOW_TO_GET = f"fetch {CLASS_INDEX.url} into the folder ~/.keras/models, or one that CNN_JAX_WEIGHTS names"


def class_names() -> tuple[str, ...]:
    """The names in the order of the networks' outputs: `tench` is 0, `toilet_tissue` 999.

    Looked for as weights are, then downloaded.

    Raises:
        WeightsError: the file can neither be found nor fetched, or is of another kind.
    """
    path = find_or_download(CLASS_INDEX)
    try:
        index = json.loads(path.read_text())
        return tuple(str(index[str(i)][1]) for i in range(len(index)))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(f"{path} is not Keras' list of ImageNet's classes ({error!r}): remove it") from error
