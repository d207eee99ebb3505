"""`python -m cnn_jax.cache`: what is kept, and its removal."""

from pathlib import Path

import pytest

from cnn_jax import cache
from cnn_jax.errors import ConfigError
from tests.conftest import make_unlistable


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CNN_JAX_CACHE", str(place))
    return place


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def test_an_empty_cache_is_said_to_be_empty(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(folder)
    assert lines[-1].split() == ["all", "0", "0.0", "MB"]


def test_kinds_are_listed_and_only_the_named_ones_are_cleared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder / "features" / "key" / "1.rows", 3 * 2**20)
    put(folder / "weights" / "vgg16.h5", 2**20)
    put(folder / "mine" / "thesis.txt", 5)
    assert cache.main(["--clear", "features"]) == 0
    out = capsys.readouterr().out
    assert "cleared    features: 1 files, 3.0 MB" in out
    assert "left alone: mine" in out
    listed = {line.split()[0]: line.split()[1:4] for line in out.splitlines()[3:] if "MB" in line}
    assert listed["features"] == ["0", "0.0", "MB"]
    assert listed["weights"] == ["1", "1.0", "MB"]
    assert cache.main(["--clear", "all"]) == 0
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["thesis.txt"]


def test_what_cannot_be_cleared_is_one_error(folder: Path) -> None:
    put(folder / "features", 1)
    with pytest.raises(ConfigError, match="features cannot be read or cleared"):
        cache.main(["--clear", "features"])


def test_a_folder_that_cannot_be_read_does_not_count_as_empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "features" / "key" / "1.rows", 2**20)
    make_unlistable(monkeypatch, folder / "features" / "key", PermissionError(13, "Permission denied"))
    with pytest.raises(ConfigError, match="features/key cannot be read or cleared: Permission denied"):
        cache.main([])
