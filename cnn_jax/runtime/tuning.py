"""Settings of the process: memory that makes steps on a CPU faster, and compiled programs that are kept."""

import os
import platform
import sys

MALLOC_TUNABLES = "glibc.malloc.hugetlb=1"
"""Back large allocations with huge pages: XLA's fresh buffers otherwise pay a page fault every 4 KiB, every step."""

NO_TUNING = "CNN_JAX_NO_TUNING"
"""Environment variable: set to anything to start without `MALLOC_TUNABLES`."""


def tune_process() -> None:
    """On Linux, start this process again with `MALLOC_TUNABLES` where they are not set: glibc reads them only then.

    1.2 to 1.4 times faster steps on CPU, 3 times where everything trains (docs/performance.md), for 20 ms.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or NO_TUNING in os.environ:
        return
    if "GLIBC_TUNABLES" in os.environ or not sys.orig_argv:
        return
    environment = {**os.environ, "GLIBC_TUNABLES": MALLOC_TUNABLES}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def keep_compiled_programs() -> None:
    """Have JAX keep the programs that took long to compile, so that the next start of a run begins sooner."""
    from cnn_jax.io.files import cache_folder  # this module is the first that a process imports

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")  # JAX's own is 1
