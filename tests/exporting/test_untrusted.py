"""Exported files from elsewhere: what is no such file, or does more than classify, is refused with a message."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import cnn_jax
from cnn_jax.errors import RunError, WeightsError

SUFFIXES = (".tflite", ".onnx", ".stablehlo")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"no model at all" * 9, b"\0\0\0\0TFL3" + bytes(60)], ids=len)
def test_what_is_no_such_file_is_said_to_be_none(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"model{suffix}").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"model{suffix}"):
        cnn_jax.load(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_not_there_is_said_to_be_gone(suffix: str, tmp_path: Path) -> None:
    with pytest.raises((WeightsError, RunError), match="No such file"):
        cnn_jax.load(tmp_path / f"gone{suffix}")


@pytest.mark.long
@pytest.mark.parametrize("name", ["litert", "onnx", "stablehlo"])
def test_a_file_that_was_cut_off_is_refused(exported: dict[str, Path], name: str, tmp_path: Path) -> None:
    content = exported[name].read_bytes()
    part = tmp_path / f"part{exported[name].suffix}"
    for share in (0.3, 0.7):
        part.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError):
            cnn_jax.load(part)


def _program(function, *shape: int, dtype=jnp.uint8) -> bytes:
    (batch,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *shape), dtype)
    return bytes(export.export(jax.jit(function))(images).serialize())


def test_a_program_that_takes_or_gives_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.stablehlo"
    for content in (_program(lambda x: x, 8, 8, 3), _program(lambda x: x.sum((1, 2)), 8, 8, 3, dtype=jnp.float32)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="does not take images uint8"):
            cnn_jax.load(path)


def test_a_program_that_calls_out_of_itself_is_refused(tmp_path: Path) -> None:
    """As `jax.pure_callback` and foreign functions do; a triangular solve is one of LAPACK's."""
    options = {"disabled_checks": [export.DisabledSafetyCheck.custom_call("lapack_strsm_ffi")]}

    def function(images):
        values = images[0, :3, :3, 0].astype(jnp.float32) + jnp.eye(3)
        return jax.scipy.linalg.solve_triangular(values, jnp.ones((3, 1))).T

    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.uint8)
    content = export.export(jax.jit(function), **options)(images).serialize()
    (tmp_path / "model.stablehlo").write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="calls lapack_strsm_ffi: programs from elsewhere may not"):
        cnn_jax.load(tmp_path / "model.stablehlo")


@pytest.mark.long
def test_a_saved_model_that_writes_a_file_is_refused_before_it_runs(tmp_path: Path) -> None:
    import tensorflow as tf

    class Spy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.uint8)])
        def serve(self, images):
            tf.io.write_file(str(tmp_path / "written"), "x")
            return tf.cast(images[:, 0, 0], tf.float32)

    model = Spy()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.serve})
    with pytest.raises(WeightsError, match="operations that a network is not made of: WriteFile"):
        cnn_jax.load(tmp_path / "model")
    assert not (tmp_path / "written").exists()


@pytest.mark.long
def test_a_graph_that_names_another_file_for_its_arrays_is_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported["onnx"])
    onnx.save_model(model, tmp_path / "model.onnx", save_as_external_data=True, location="secret.bin", size_threshold=0)
    assert (tmp_path / "secret.bin").stat().st_size > 1000
    with pytest.raises(WeightsError, match=r"model\.onnx cannot be run by ONNX Runtime"):
        cnn_jax.load(tmp_path / "model.onnx")


@pytest.mark.long
def test_metadata_that_is_damaged_is_named(exported: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(exported["saved-model"], tmp_path / "model")
    (tmp_path / "model" / "cnn_jax.json").write_text('{"classes": 7}')
    with pytest.raises(WeightsError, match="what it says of its classes and images cannot be read"):
        cnn_jax.load(tmp_path / "model")
    (tmp_path / "model" / "cnn_jax.json").unlink()
    (tmp_path / "labels.txt").write_text("\n".join(f"name {i}" for i in range(10)))
    images = np.zeros((1, 11, 14, 3), np.uint8)
    assert cnn_jax.load(tmp_path / "model")(images).classes[0].startswith("name ")
