"""The devices as one mesh with the axis `data`: batches are split over it, everything else is copied to all."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cnn_jax.errors import ConfigError


@dataclass(frozen=True)
class Mesh:
    """All devices of all processes, and the two ways in which arrays lie on them."""

    devices: int
    replicated: NamedSharding
    sharded: NamedSharding

    @classmethod
    def create(cls) -> "Mesh":
        """The mesh of every device that JAX sees."""
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
        return cls(jax.device_count(), NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data")))

    def check_batch_size(self, batch_size: int, field: str) -> None:
        """Raise ConfigError, naming the nearest sizes that fit, where a batch does not divide over the devices."""
        below = batch_size // self.devices * self.devices
        if below != batch_size:
            sizes = [str(size) for size in (below, below + self.devices) if size]
            raise ConfigError(
                f"{field}={batch_size} does not divide over {self.devices} devices; the nearest that do: "
                + ", ".join(sizes)
            )

    def put_batch(self, array: np.ndarray) -> jax.Array:
        """This process' part of a batch, as a part of the global array."""
        return jax.make_array_from_process_local_data(self.sharded, array)
