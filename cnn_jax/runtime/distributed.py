"""Several processes that train as one: how a process joins the others, and how it leaves them.

They are found in what TPU VMs, SLURM and Open MPI say in the environment, or by flags. A process that ends without a
word ends the others too, in bounded time: their next collective operation fails (gloo, NCCL), or JAX misses its
heartbeat and aborts them.
"""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NoReturn

from cnn_jax.config.validation import check_types, require
from cnn_jax.errors import ConfigError, RunFailed

CLUSTERS = ("ompi", "slurm", "gketpu", "gcetpu")
"""What is looked for, by JAX's names. Kubernetes without TPUs, and Open MPI from 5 on, need the flags."""

SHUTDOWN_SECONDS = 600
"""How long a process that is done waits for the others, which may still write a report."""

FAREWELL_SECONDS = 5.0
"""How long a process that failed waits for the others to say the same, before it ends and takes them with it."""


@dataclass(frozen=True)
class DistributedArguments:
    """Several processes that train as one; found on TPU VMs and under SLURM and Open MPI without a flag."""

    coordinator: str | None = None
    """HOST:PORT of process 0, any free port. None: as the environment says, one process where it says nothing."""
    process_count: int | None = None
    """How many processes there are; 1 trains alone, whatever the environment says."""
    process_id: int | None = None
    """This process' number, from 0."""
    start_seconds: int = 300
    """How long to wait for all of them at the start."""
    lost_seconds: int = 100
    """A process that gives no sign of life for so long is taken for dead, which ends the others."""

    def __post_init__(self) -> None:
        check_types(self, "distributed.")
        count, number = self.process_count, self.process_id
        host, _, port = (self.coordinator or "host:1").rpartition(":")
        require(bool(host) and port.isdecimal(), "distributed.coordinator", self.coordinator, "HOST:PORT")
        require(count is None or count >= 1, "distributed.process_count", count, "at least 1")
        below = f"at least 0 and below distributed.process_count={count}"
        require(number is None or 0 <= number < (count or number + 1), "distributed.process_id", number, below)
        given = sum(value is not None for value in (self.coordinator, count, number))
        if given not in (0, 3) and count != 1:
            raise ConfigError("distributed.coordinator, .process_count and .process_id belong together: give all three")
        for name in ("start_seconds", "lost_seconds"):
            require(getattr(self, name) >= 1, f"distributed.{name}", getattr(self, name), "at least 1")


def join(arguments: DistributedArguments) -> None:
    """Meet the other processes, if there are any; before anything else is asked of JAX.

    From then on process 0 alone has a standard output; of the others, errors alone are seen.

    Raises:
        RunFailed: they did not all come in time.
        ConfigError: the environment says that there are several, and not where.
    """
    settings = _settings(arguments)
    if settings is None:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what the runtime logs of a lost process is said once, below
    import jax
    from jax._src.distributed import global_state

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from training.interrupts
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _explain_aborts()
    try:
        with _told_of_lost_processes():
            jax.distributed.initialize(
                **settings,
                initialization_timeout=arguments.start_seconds,
                heartbeat_timeout_seconds=arguments.lost_seconds,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        raise RunFailed(
            f"the processes of this run did not meet within {arguments.start_seconds} seconds: {_first_line(error)}\n"
            "  All of them need the same --distributed.coordinator and .process_count, each its own .process_id"
        ) from error
    if global_state.process_id > 0:  # asking JAX itself would start its backend, which prints
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def joined() -> bool:
    """Whether this process is one of several."""
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized()


def leave() -> None:
    """The end of a process that did its part: wait until the others have done theirs."""
    if joined():
        import jax

        jax.distributed.shutdown()


def explain(error: Exception) -> None:
    """Print why one of several processes cannot go on."""
    import jax

    if isinstance(error, jax.errors.JaxRuntimeError):
        what = f"a computation failed, most likely because another process of this run ended: {_first_line(error)}"
        _say_once(f"error: {what}\n  {_GO_ON}\n")
    else:
        _say_once("".join(traceback.format_exception(error)))


def abandon(code: int) -> None:
    """The end of one of several processes that failed; nothing for one alone.

    Where all failed alike, they leave together. Otherwise the others wait for this one in the midst of their work, so
    it does not wait for them, nor for threads that do.
    """
    if not joined():
        return
    import jax

    global _exit_code
    _exit_code = code
    farewell = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    farewell.start()
    farewell.join(FAREWELL_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _settings(arguments: DistributedArguments) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is to be called with; None for a process alone."""
    if arguments.process_count == 1:
        return None
    if arguments.coordinator is not None:
        return {
            "coordinator_address": arguments.coordinator,
            "num_processes": arguments.process_count,
            "process_id": arguments.process_id,
            "cluster_detection_method": "deactivate",
        }
    from jax._src import clusters  # nothing public tells whether there is a cluster without joining it

    for cluster in clusters.ClusterEnv._cluster_types:
        if cluster.name in CLUSTERS and cluster.is_env_present():
            return {"cluster_detection_method": cluster.name} if cluster.get_process_count() > 1 else None
    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "Open MPI started several processes and does not say where the first is: give each "
            "--distributed.coordinator=HOST:PORT --distributed.process_count=$OMPI_COMM_WORLD_SIZE "
            "--distributed.process_id=$OMPI_COMM_WORLD_RANK, or --distributed.process_count=1 to train alone"
        )
    return None


_GO_ON = "What was saved stays: start all processes again with the same command, and they go on from there"
_saying = threading.Lock()
"""Held from the first message on."""
_exit_code: int | None = None
"""Of a process that is on its way out."""


@contextlib.contextmanager
def _told_of_lost_processes() -> Generator[None, None, None]:
    """Have JAX's runtime call `_on_lost` where it would print a trace and abort.

    `jax.distributed.initialize` has no argument for it, the function that it calls has.
    """
    from jaxlib import _jax

    make_client = _jax.get_distributed_runtime_client
    _jax.get_distributed_runtime_client = functools.partial(make_client, missed_heartbeat_callback=_on_lost)
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make_client


def _on_lost(reason: object) -> None:
    """The end of a process whose others are gone; called in a thread of the runtime's own."""
    _end()


def _explain_aborts() -> None:
    """Turn an abort by JAX's runtime, its answer to other errors, into a message and exit code 1.

    The runtime calls abort() from a thread of its own, which Python's signal handlers do not see.
    """
    if sys.platform == "win32":  # whose C library has another name
        return
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, _Handler)
    libc.signal(signal.SIGABRT, _on_abort)
    with contextlib.suppress(OSError, AttributeError):  # without it, the runtime's two lines stand before the message
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(_on_terminate)


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


@_Handler
def _on_abort(number: int) -> None:
    _end()


@ctypes.CFUNCTYPE(None)
def _on_terminate() -> None:
    """C++ has an error that nobody catches: jaxlib 0.10 cannot hand over the reason for which it calls `_on_lost`."""
    library = ctypes.CDLL("libstdc++.so.6")
    library.__cxa_current_exception_type.restype = ctypes.POINTER(ctypes.c_char_p)
    kind = library.__cxa_current_exception_type()
    if kind and kind[1] == b"St8bad_cast":  # std::type_info is a table of functions, then the name
        _end()
    library._ZN9__gnu_cxx27__verbose_terminate_handlerEv()


def _end() -> NoReturn:
    if _exit_code is None:
        _say_once(f"error: another process of this run ended, so this one cannot go on.\n  {_GO_ON}\n")
    os._exit(1 if _exit_code is None else _exit_code)


def _say_once(text: str) -> None:
    """An error, unless one was said: a lost process is noticed in several threads at about the same time."""
    if _saying.acquire(blocking=False):
        os.write(2, text.encode(errors="backslashreplace"))
    else:
        time.sleep(0.2)  # for the other thread's to be written


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
