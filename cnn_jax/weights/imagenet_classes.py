"""The names of ImageNet's 1000 classes, from the file that Keras publishes."""

import json

from cnn_jax.errors import WeightsError
from cnn_jax.weights.locate import find_or_download

FILE = "imagenet_class_index.json"
URL = f"https://storage.googleapis.com/download.tensorflow.org/data/{FILE}"
MD5 = "c2c37ea517e94d9795004a39431a14cb"
"""As in `keras.applications.imagenet_utils`."""

HOW_TO_GET = f"for names, fetch {URL} into ~/.keras/models, or a folder that CNN_JAX_WEIGHTS names"


def class_names() -> tuple[str, ...]:
    """The names in the order of the networks' outputs: `tench` is 0, `toilet_tissue` 999.

    Looked for as weights are, then downloaded.

    Raises:
        FetchError: the file can neither be found nor fetched.
        WeightsError: it is of another kind.
    """
    path = find_or_download(FILE, URL, MD5)
    try:
        index = json.loads(path.read_text())
        return tuple(str(index[str(i)][1]) for i in range(len(index)))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(f"{path} is not Keras' list of ImageNet's classes ({error!r}): remove it") from error
