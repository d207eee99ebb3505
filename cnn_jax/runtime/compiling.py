"""How programs are compiled: `jax.jit`, and what XLA:CPU needs to be told so that it runs them fast.

Nothing here changes what is computed, and on accelerators nothing is different from `jax.jit`.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Shaped

T = TypeVar("T")

LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
"""XLA's option of what YNNPACK runs on CPU."""
CPU_OPTIONS = {LIBRARY: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}
"""Its default less the convolutions, which then run in Eigen: kernel gradients up to 5 times faster, and on every core.

The small network's training step: 626 ms in place of 1,011 on two cores (docs/performance.md).
"""


def jit(function: Callable[..., Any], **arguments: Any) -> Any:
    """`jax.jit(function, **arguments)` with the options of the platform; not before the devices are known."""
    return jax.jit(function, compiler_options=_options(), **arguments)


@functools.cache
def _options() -> dict[str, str]:
    if jax.default_backend() != "cpu" or LIBRARY in os.environ.get("XLA_FLAGS", ""):
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:  # a jaxlib that does not know the option has no such convolutions
        return {}
    return CPU_OPTIONS


def beside(function: Callable[..., T], *arguments: Any) -> "Future[T]":
    """Call the function on another thread. XLA compiles on one core, and leaves Python to others meanwhile."""
    return _others().submit(function, *arguments)


@functools.cache
def _others() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, "beside")  # Python waits for them when it ends


class Ahead:
    """A jitted function that may be compiled on a thread of its own, beside other work, before it is called."""

    def __init__(self, jitted: Any) -> None:
        self._jitted = jitted
        self._compiled: Future[Any] | None = None

    def start(self, *arguments: Any) -> None:
        """Begin to compile it for arguments of these shapes and dtypes, where that has not begun."""
        if self._compiled is None:
            self._compiled = beside(lambda: self._jitted.lower(*arguments).compile())

    def __call__(self, *arguments: Any) -> Any:
        """Call it; what is still being compiled is waited for, and what failed there fails here."""
        return (self._jitted if self._compiled is None else self._compiled.result())(*arguments)


def computed_once(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A function whose result XLA keeps instead of computing it anew within every operation that reads it.

    XLA:CPU takes sums and products for cheap and repeats them in each consumer; where they are a whole convolution,
    that is several times the work. An optimisation barrier does not help: it is gone before fusion begins.
    """
    compiled = jax.jit(function)

    @functools.wraps(function)
    def apart(*arguments: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable="false"):
            return compiled(*arguments)

    return apart


def materialized(array: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """The same array, which XLA writes to memory once for all who read it, in place of computing it anew for each.

    On accelerators a barrier does that.
    """
    return jax.lax.platform_dependent(array, cpu=computed_once(lambda here: here), default=jax.lax.optimization_barrier)
