"""How programs are compiled: `jax.jit`, and what XLA:CPU needs to be told so that it runs them fast.

Nothing here changes what is computed, and on accelerators nothing is different from `jax.jit`.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata

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


def materialized(array: jax.Array) -> jax.Array:
    """The same array, which XLA writes to memory once for all who read it, in place of computing it anew for each.

    On accelerators a barrier does that.
    """
    return jax.lax.platform_dependent(array, cpu=computed_once(lambda here: here), default=jax.lax.optimization_barrier)
