"""Model files of other kinds are named for what they are, with the way to a file that is read."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.weights.locate import locate
from tests.models.keras_reference import quiet_keras


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return content.getvalue()


def array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


KERAS_SAVE = r"model\.save\('model\.keras'\)"
FILES = {
    "page.h5": (b"\xef\xbb\xbf\n<!DOCTYPE html><html>Sign in</html>", "a web page", "log in"),
    "page2.h5": (b"<HTML><body>404</body>", "a web page", "failed"),
    "pointer.h5": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "git", "git lfs pull"),
    "m.tflite": (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite", KERAS_SAVE),
    "graph/model.json": (b'{"format": "graph-model", "modelTopology": {}}', "graph of TensorFlow.js", KERAS_SAVE),
    "model.json": (b'{"modelTopology": {"class_name": "x"}}', "model of TensorFlow.js", "tensorflowjs_converter"),
    "architecture.json": (b'{"module": "keras", "class_name": "Functional"}', "description of a network", KERAS_SAVE),
    "model.weights.json": (b'{"metadata": {}, "weight_map": {}}', "list of the files", KERAS_SAVE),
    "old.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch", "keras.applications"),
    "new.pt": (archive("archive/data.pkl", "archive/version"), "PyTorch", "keras.applications"),
    "m.pkl": (b"\x80\x04\x95", "a pickle", KERAS_SAVE),
    "a.npy": (array(), "an array of NumPy", KERAS_SAVE),
    "a.npz": (archive("a.npy", "b.npy"), "arrays of NumPy", KERAS_SAVE),
    "m.safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"conv1":{}}', "safetensors", "keras.applications"),
    "saved_model.pb": (b"\x08\x01\x12\xef\xf5\x02", "SavedModel without its folder", "Give the folder"),
    "m.onnx": (b"\x08\x0e\x12\x07pytorch:3", "ONNX", "keras.applications"),
    "m.gz": (b"\x1f\x8b\x08", "compressed", "Unpack"),
    "m.tar": (b"m.h5".ljust(257, b"\0") + b"ustar\x0000", "archive", "Unpack"),
    "teachable.zip": (archive("keras/model.h5", "labels.txt"), "an archive", "give keras/model.h5"),
    "photos.zip": (archive("cat.jpg"), r"other files \(cat.jpg\)", "Give a .h5"),
    "nothing.h5": (b"", "empty", "fetch it again"),
    "model.ckpt-1.data-00000-of-00001": (bytes(64), "checkpoint of TensorFlow", KERAS_SAVE),
}


def refused(path: Path) -> str:
    """The message, in which the path stands but once."""
    with pytest.raises(WeightsError) as caught:
        locate(ModelConfig(weights=str(path)))
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_named_with_what_helps(name: str, tmp_path: Path) -> None:
    content, what, way = FILES[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"cannot be read as a Keras weights file: it is .*{what}.*{way}"):
        locate(ModelConfig(weights=str(path)))


def test_folders_and_what_only_has_a_name(tmp_path: Path) -> None:
    for name, files, what in (
        ("keras2", ["saved_model.pb", "keras_metadata.pb"], "tf_keras.models.load_model"),
        ("keras3", ["config.json", "metadata.json", "model.weights.h5"], f"{tmp_path}/keras3/model.weights.h5"),
        ("exported", ["saved_model.pb", "fingerprint.pb"], "There is no way back from it"),
        ("checkpoint", ["checkpoint", "model.ckpt-1.index"], "a checkpoint of TensorFlow"),
        ("checkpoint/model.ckpt-1", [], "a checkpoint of TensorFlow"),
        ("photos", ["cat.jpg"], "a folder, without `checkpoints`"),
        ("nothing", [], "there is no such file or run"),
    ):
        for file in files:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(b"x")
        assert what in refused(tmp_path / name), name
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "model.json").write_bytes(FILES["model.json"][0])
    assert "a model of TensorFlow.js" in refused(tmp_path / "js")
    assert refused(tmp_path / ("n" * 300)).endswith("cannot be read: File name too long")


def test_what_is_not_recognised_is_left_to_the_readers(tmp_path: Path) -> None:
    for name, content in {
        "a": b"\x89HDF\r\n\x1a\n<html>",
        "b": b"PK\x03\x04 cut short",
        "c": archive("config.json", "model.weights.npz"),
        "d": archive("model.weights.h5", "labels.h5"),
        "e": b"text\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert locate(ModelConfig(weights=str(tmp_path / name))) == tmp_path / name


@pytest.mark.long
def test_what_tensorflow_writes(tmp_path: Path) -> None:
    """The libraries' own files, beside the made-up beginnings above."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with quiet_keras(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="conv1")])
        model.export(tmp_path / "saved", verbose=False)
        (tmp_path / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        (tmp_path / "m.json").write_text(model.to_json())
        tf.train.Checkpoint(v=tf.Variable([1.0])).save(str(tmp_path / "model.ckpt"))
        function = tf.function(model).get_concrete_function(tf.TensorSpec([None, 8, 8, 3]))
        frozen = convert_variables_to_constants_v2(function).graph.as_graph_def()
        (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
    for name, what in {
        "saved": "a SavedModel, which",
        "saved/saved_model.pb": "without its folder",
        "m.tflite": "TensorFlow Lite",
        "m.json": "Keras' description",
        "model.ckpt-1": "checkpoint of TensorFlow",
        "model.ckpt-1.index": "checkpoint of TensorFlow",
        "frozen.pb": "frozen graph",
    }.items():
        assert what in refused(tmp_path / name), name
