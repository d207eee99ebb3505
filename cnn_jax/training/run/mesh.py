"""The devices as one mesh with the axis `data`: batches are split over it, everything else is copied to all."""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from cnn_jax.data.stream import Batch
from cnn_jax.errors import ConfigError


@dataclass(frozen=True)
class Mesh:
    """All devices of all processes, and the two ways in which arrays lie on them."""

    devices: int
    replicated: NamedSharding
    sharded: NamedSharding
    process: int = 0
    """This process' place among `processes`: it has that part of every batch."""
    processes: int = 1

    @classmethod
    def create(cls, first: int | None = None) -> "Mesh":
        """The mesh of every device that JAX sees, process by process.

        Args:
            first: only so many devices, for measurements in one process.

        Raises:
            ConfigError: the processes have different numbers of devices.
        """
        # in the order of the processes, so that a row of a batch has one place whatever the number of processes
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[:first]
        count, processes = len(devices), jax.process_count()
        if first is None and count != processes * jax.local_device_count():
            raise ConfigError(f"{count} devices in {processes} processes: each process needs the same number")
        mesh = jax.sharding.Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))
        replicated, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
        return cls(count, replicated, sharded, jax.process_index(), processes)

    def check_batch_size(self, batch_size: int, field: str) -> None:
        """Raise ConfigError, naming the nearest sizes that fit, where a batch does not divide over the devices."""
        below = batch_size // self.devices * self.devices
        if below != batch_size:
            sizes = [str(size) for size in (below, below + self.devices) if size]
            of = f" of {self.processes} processes" if self.processes > 1 else ""
            raise ConfigError(
                f"{field}={batch_size} does not divide over {self.devices} devices{of}; the nearest that do: "
                + ", ".join(sizes)
            )

    def put_batch(self, array: Shaped[np.ndarray, "part ..."]) -> Shaped[Array, "b ..."]:
        """This process' part of a batch, as a part of the global array."""
        return jax.make_array_from_process_local_data(self.sharded, array)

    def placed(self, batches: Generator[Batch, None, None], ahead: int) -> Generator[dict[str, Any], None, None]:
        """The batches with all that a step takes on the devices; so many more are on their way while one is in use."""
        waiting: deque[dict[str, Any]] = deque()
        with contextlib.closing(batches):
            for batch in batches:
                taken = {key: self.put_batch(batch[key]) for key in sorted(batch.keys() - {"index", "mask"})}
                waiting.append({**batch, **taken})
                if len(waiting) > ahead:
                    yield waiting.popleft()
            yield from waiting

    def replicate(self, tree: Any) -> Any:
        """The arrays of a tree, which every process has alike, on all devices."""
        return jax.device_put(tree, self.replicated) if self.processes == 1 else jax.tree.map(self._copied, tree)

    def _copied(self, array: Any) -> jax.Array:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            return array  # it is on all of them already
        value = np.asarray(array)  # device_put would compare the value of every leaf among the processes
        return jax.make_array_from_callback(value.shape, self.replicated, lambda index: value[index].copy())

    def with_all_labels(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """This process' parts of batches, with `label`, `index` and `mask` of the whole batches."""
        if self.processes == 1:
            yield from batches
            return
        keys = ("label", "index", "mask")
        for batch in batches:
            parts = np.stack([batch[key] for key in keys], axis=1).astype(np.int32)
            whole = dict(zip(keys, np.asarray(self._gathered(self.put_batch(parts))).T, strict=True))
            yield {**batch, **whole, "mask": whole["mask"].astype(bool)}

    @cached_property
    def _gathered(self) -> Any:
        return jax.jit(lambda rows: rows, out_shardings=self.replicated)
