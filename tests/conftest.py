"""What the tests share: real photographs and weights where the environment names them, and small made-up data."""

import atexit
import contextlib
import gc
import os
import shutil
import socket
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

# What processes leave behind goes with this folder: a worker ends without a chance to tidy up, and some are killed. The
# folders of tests stay where pytest puts them.
FOLDER = tempfile.mkdtemp(prefix="cnn_jax_tests_")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
os.environ["TMPDIR"] = tempfile.tempdir = FOLDER
CACHE = f"{FOLDER}/cache"  # the user's own stays out of it
os.mkdir(CACHE)
os.environ["CNN_JAX_CACHE"] = CACHE
# Several tests run the same programs; the workers inherit the folder of the process that starts them. JAX writes there
# under a lock only where the folder has a bound.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ.setdefault("CNN_JAX_TESTS_COMPILED", f"{CACHE}/compiled")
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**32)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")
FOREIGN = ("CNN_JAX_WEIGHTS", "CNN_JAX_NO_TUNING", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "WANDB_", "MLFLOW_")
FOREIGN += ("SLURM_", "OMPI_")  # in a job of a cluster, whose other processes would be waited for
FOREIGN += ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")  # the servers of the tests are on this machine
for variable in [
    name for name in os.environ if name.upper().startswith(FOREIGN)
]:  # what is printed, and where, is the tests'
    del os.environ[variable]

if os.environ.get("CNN_JAX_TESTS_TYPES"):  # as `.ci/run` sets it; before any module of the package is imported
    from jaxtyping import install_import_hook

    import tests.array_types

    install_import_hook("cnn_jax", f"{tests.array_types.__name__}.checked")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

OPTIMIZATIONS = "JAX_DISABLE_MOST_OPTIMIZATIONS"
"""JAX's variable, and its option in small letters."""

LAST = ("tests", "evaluation", "launch", "weights", "models", "data")
"""Folders, the one with the shortest files last; those that are not named come first."""


def _real(variable: str, what: str) -> Path:
    folder = os.environ.get(variable)
    if not folder or not Path(folder).is_dir():
        _missing(f"needs {what}: set {variable} to their folder")
    return Path(folder)


def _missing(reason: str) -> NoReturn:
    """Skip the test, or fail where nothing may be missing."""
    if os.environ.get("CNN_JAX_REQUIRE_REAL"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Import TensorFlow before any test turns warnings into errors; not where others run the tests, which it delays."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        with contextlib.suppress(ModuleNotFoundError), warnings.catch_warnings(action="ignore"):
            import tensorflow  # noqa: F401  (what it and Keras warn of while they are imported is theirs to mend)


def pytest_collection_finish() -> None:
    """What the imports made stays: the collector need not go through it again and again, nor so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(7000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sample(n)`, `make test` runs the first n cases; the others are `long`, as tests marked so.

    Files of few and long tests come first, so that no worker is left with one of them at the end.
    """
    items.sort(key=lambda item: LAST.index(item.path.parent.name) if item.path.parent.name in LAST else -1)
    seen: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("sample")
        if mark is not None:
            name = item.nodeid.partition("[")[0]
            seen[name] += 1
            if seen[name] > mark.args[0]:
                item.add_marker("long")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `optimized`, its fixtures and processes compile as users do, also in `make test` and `test-all`."""
    if not os.environ.get(OPTIMIZATIONS) or item.get_closest_marker("optimized") is None:
        return (yield)
    import jax

    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(OPTIMIZATIONS)
        jax.config.update(OPTIMIZATIONS.lower(), False)
        try:
            return (yield)
        finally:
            jax.config.update(OPTIMIZATIONS.lower(), True)


def pytest_terminal_summary(terminalreporter) -> None:
    """What was skipped and what it needs, then the faults."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    if reasons:
        terminalreporter.section("skipped")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")
    _write_faults(terminalreporter)


def _write_faults(terminalreporter) -> None:
    """The table of docs/reliability.md: what `tests/faults` injected, how often, and how it ended.

    Here, since the process that collects the results of several workers loads no deeper conftest.py.
    """
    faults: dict[tuple[str, str], Counter[str]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "fault":
                fault, ending, during = value
                faults.setdefault((fault, during), Counter())[ending] += 1
    if faults:
        terminalreporter.section("faults")
        for (fault, during), endings in sorted(faults.items()):
            what = f"{fault}, {during}" if during else fault
            terminalreporter.line(f"{what}: " + ", ".join(f"{count} {ending}" for ending, count in endings.items()))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with `cats_and_dogs` and `sign_language_digits`."""
    return _real("CNN_JAX_TEST_DATA", "real photographs")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """A folder with Keras' MobileNet files."""
    return _real("CNN_JAX_TEST_WEIGHTS", "real pretrained weights")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Debian's Chromium, or another one on the path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        _missing("needs Chromium: apt-get install chromium")
    return Path(found)


def make_unlistable(monkeypatch: "pytest.MonkeyPatch", folder: Path, error: OSError) -> None:
    """Let listing this folder fail; root may list any."""

    def failing(lists: Callable[..., Any]) -> Callable[..., Any]:
        def instead(path: "str | os.PathLike[str]" = ".") -> Any:
            if os.path.abspath(path) == str(folder):
                raise type(error)(error.errno, error.strerror, os.fspath(path))
            return lists(path)

        return instead

    monkeypatch.setattr(os, "scandir", failing(os.scandir))
    monkeypatch.setattr(os, "listdir", failing(os.listdir))


def until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until it holds; a test in which it does not for minutes has failed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listens at.

    It is below those that the system hands out to whoever asks for any, so that no other program gets it before it is
    used; where the search begins differs from process to process.
    """
    for port in range(10_000 + os.getpid() * 16 % 20_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no port is free")


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write uint8[h, w, 3] in the format of the file's suffix."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """`train` and `validation` with the classes `blue` and `red`: 12 and 5 images each, of noise in that colour."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for split, count in (("train", 12), ("validation", 5)):
        for class_name, channel in (("blue", 2), ("red", 0)):
            for i in range(count):
                pixels = rng.integers(0, 100, (20 + i, 24, 3), dtype=np.uint8)
                pixels[..., channel] += 120
                write_image(root / split / class_name / f"{i:02d}.png", pixels)
    return root


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of a small network on the digits, for all tests that only read it; others copy it."""
    from tests.training.helpers import SMALL_CNN, train, with_

    workdir = tmp_path_factory.mktemp("small") / "run"
    train(with_(SMALL_CNN, train={"epochs": 1}), workdir)
    return workdir


@pytest.fixture
def leftovers_collected() -> Iterator[None]:
    """Have what Orbax leaves of a failed save or load go before the next test, which would be blamed for it."""
    yield
    gc.collect()
