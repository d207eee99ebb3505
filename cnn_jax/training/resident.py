"""Training data that lie on the devices: each step takes its batch there, and one call runs several steps.

A device whose step takes milliseconds would otherwise wait for the host, which has to hand over every batch and to
start every step. The order of the examples is the one that batches from the host have (`cnn_jax.data.array_batches`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float32, Int, Int32, Int64, Shaped

from cnn_jax.data.stream import pass_order, steps_per_pass
from cnn_jax.runtime.compiling import jit
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.run.processes import gather
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import Report, TrainStep
from cnn_jax.training.teacher import Taught

MOST_STEPS = 64
"""Of one call."""

CALL_SECONDS = 0.25
"""What a call should take: signals are heeded between calls, and the progress bar moves."""

Reports = dict[str, Float32[Array, " steps"]]
"""The reports of several steps, with room for `MOST_STEPS`; the rest is NaN."""

FEATURE_BYTES = 2**28
"""On CPU, cached features up to this size are treated so as well. Larger ones have longer steps, which gain nothing."""


def device_bytes() -> int | None:
    """The memory of the first device of this process; None where that is the memory of the host, or not known."""
    found = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return None if found is None else found.get("bytes_limit")


def fits(arrays: Sequence[np.ndarray], share: float, mesh: Mesh, features: bool) -> bool:
    """Whether the arrays, divided over the devices, take no more than this share of each one's memory.

    Args:
        features: whether they are cached features: few operations for each byte.
    """
    size, limit = sum(array.nbytes for array in arrays), device_bytes()
    if limit is None:
        return features and share > 0 and size <= FEATURE_BYTES
    return size <= share * limit * mesh.devices


@dataclass(frozen=True)
class Ran:
    """Steps that were started."""

    first: int
    """Counted from 1 over the run."""
    steps: int
    reports: Report | Reports
    """Of one step, or of several."""
    indices: Callable[[int], Int64[np.ndarray, " b"]]
    """The examples of one of them."""


class Pace:
    """How many steps a call has: from the time that one took, alike in all processes."""

    def __init__(self) -> None:
        self.steps = 1
        """Of the next call."""
        self._calls = 0

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the call gives. The second one is timed: the first compiles."""
        begun, found = time.perf_counter(), call(*arguments)
        self._calls += 1
        if self._calls == 2:
            jax.block_until_ready(found)
            fitting = int(CALL_SECONDS / max(time.perf_counter() - begun, 1e-9))
            self.steps = int(gather(str(min(max(fitting, 1), MOST_STEPS)))[0])
        return found


@dataclass(frozen=True)
class Call:
    """Some steps that run without the host."""

    first: int
    """The first of them, counted from 1 over the run."""
    steps: int
    arguments: tuple[Any, ...]
    """Of the program that `Resident.steps` makes, after the state."""


class Resident:
    """Images or features of the training examples, divided over the devices, and the order of their steps."""

    def __init__(
        self,
        views: Sequence[Shaped[np.ndarray, "n ..."]],
        labels: Int[np.ndarray, " n"],
        batch_size: int,
        seed: int,
        mesh: Mesh,
        taught: Taught | None = None,
    ) -> None:
        """`views` are arrays of the same examples; the passes over the data take them in turn."""
        self._taught = taught or Taught()
        self._mesh, self._batch_size, self._seed, self._examples = mesh, batch_size, seed, len(labels)
        self._rows = views, labels
        self._order: tuple[int, Int32[Array, " m"]] | None = None

    @cached_property
    def _placed(self) -> tuple[list[Shaped[Array, "m ..."]], Int32[Array, " n"]]:
        """Views and labels on the devices, from the first call on: a search for the learning rate makes none."""
        views, labels = self._rows
        return [self._divided(view) for view in views], self._mesh.replicate(labels.astype(np.int32))

    @cached_property
    def _given(self) -> list[Any]:
        """What a call takes of a teacher, on the devices."""
        rows, variables = self._taught.rows, self._taught.variables
        return [self._divided(rows)] if rows is not None else [] if variables is None else [variables]

    def _divided(self, rows: Shaped[np.ndarray, "n ..."]) -> Shaped[Array, "m ..."]:
        """The rows, filled up with the first one where they do not divide over the devices."""
        missing = -len(rows) % self._mesh.devices

        def part(index: Any) -> Shaped[np.ndarray, "part ..."]:
            begin, end, _ = index[0].indices(len(rows) + missing)
            return rows[np.where(np.arange(begin, end) < len(rows), np.arange(begin, end), 0)]

        shape = (len(rows) + missing, *rows.shape[1:])
        return jax.make_array_from_callback(shape, self._mesh.sharded, part)

    def call(self, step: int, most: int) -> Call:
        """The steps after `step`, at most so many; fewer where a pass over the examples ends."""
        steps = steps_per_pass(self._examples, self._batch_size)
        number, first = divmod(step, steps)
        if self._order is None or self._order[0] != number:
            order = pass_order(self._examples, self._batch_size, self._seed, number).astype(np.int32)
            self._order = number, self._mesh.replicate(order)
        count, (views, labels) = min(most, steps - first, MOST_STEPS), self._placed
        arguments = views[number % len(views)], labels, self._order[1], np.int32(first), np.int32(count), *self._given
        return Call(step + 1, count, arguments)

    def indices(self, step: int) -> Int64[np.ndarray, " b"]:
        """The examples of a step, counted from 1."""
        number, place = divmod(step - 1, steps_per_pass(self._examples, self._batch_size))
        order = pass_order(self._examples, self._batch_size, self._seed, number)
        return order[place * self._batch_size : (place + 1) * self._batch_size]

    def steps(self, step: TrainStep) -> Any:
        """The jitted function (state, *arguments of a `Call`) to (state, reports).

        The state is donated. A loop of as many passes as the call has steps, so that one program serves all calls.
        """
        mesh, size, by_row = self._mesh, self._batch_size, self._taught.rows is not None

        def run(
            state: TrainState,
            rows: Shaped[Array, "m ..."],
            labels: Int32[Array, " n"],
            order: Int32[Array, " places"],
            first: Int32[Array, ""],
            count: Int32[Array, ""],
            *taught: Any,
        ) -> tuple[TrainState, Reports]:
            def one(place: Int32[Array, ""], carry: tuple[TrainState, Reports]) -> tuple[TrainState, Reports]:
                state, reports = carry
                chosen = jax.lax.dynamic_slice_in_dim(order, (first + place) * size, size)
                of_batch = [_gathered(mesh)(taught[0], chosen)] if by_row else taught
                state, report = step(state, _gathered(mesh)(rows, chosen), _sharded(mesh, labels[chosen]), *of_batch)
                return state, {name: values.at[place].set(report[name]) for name, values in reports.items()}

            none = {name: jnp.full(MOST_STEPS, jnp.nan, jnp.float32) for name in ("loss", "gradient_norm")}
            return jax.lax.fori_loop(0, count, one, (state, none))

        same = mesh.replicated
        more = [mesh.sharded] if by_row else [] if self._taught.variables is None else [same]
        return jit(
            run,
            donate_argnums=0,
            in_shardings=(same, mesh.sharded, same, same, same, same, *more),
            out_shardings=(same, same),
        )


def _sharded(mesh: Mesh, array: Int32[Array, " b"]) -> Int32[Array, " b"]:
    return jax.lax.with_sharding_constraint(array, mesh.sharded)


def _gathered(mesh: Mesh) -> Callable[[Shaped[Array, "m ..."], Int32[Array, " b"]], Shaped[Array, "b ..."]]:
    """The function (rows divided over the devices, the places of some) to the rows of a batch, divided in its order.

    Each device gives what it has of the whole batch and zeros for the rest; the sum of all is exact. Left to the
    compiler, every device would collect all rows first.
    """
    if mesh.devices == 1:
        return lambda rows, chosen: rows.at[chosen].get(mode="promise_in_bounds")

    def mine(rows: Shaped[Array, "m ..."], chosen: Int32[Array, " b"]) -> Shaped[Array, "part ..."]:
        place = chosen - jax.lax.axis_index("data") * len(rows)
        here = ((place >= 0) & (place < len(rows))).reshape(-1, *(1,) * (rows.ndim - 1))
        found = jnp.where(here, rows[jnp.clip(place, 0, len(rows) - 1)], jnp.zeros((), rows.dtype))
        return jax.lax.psum_scatter(found, "data", scatter_dimension=0, tiled=True)

    data, everywhere = PartitionSpec("data"), PartitionSpec()
    return partial(jax.shard_map, mesh=mesh.sharded.mesh, in_specs=(data, everywhere), out_specs=data)(mine)
