"""What `test_augment_device` has other processes do: python -m tests.data.augmenting_devices DEVICES.

Augments images on so many devices and prints the digest of the result and what the devices tell each other, as JSON.
"""

import hashlib
import json
import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from cnn_jax.data.augment.device import augment_batch
from cnn_jax.data.augment.device.chance import example_keys
from tests.data.augmenting import EVERYTHING, photograph

COLLECTIVE = r"\b(?:all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter)\b"


def main() -> None:
    assert jax.device_count() == int(sys.argv[1])
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = NamedSharding(mesh, PartitionSpec("batch"))
    images = jax.device_put(np.stack([photograph(24, seed=i) for i in range(16)]), sharded)
    config = replace(EVERYTHING, crop_area=None)

    def augmented(images: jax.Array) -> jax.Array:
        return augment_batch(images, example_keys(jax.random.key(3), 2, jnp.arange(len(images))), config)

    compiled = jax.jit(augmented, in_shardings=sharded, out_shardings=sharded).lower(images).compile()
    digest = hashlib.sha256(np.asarray(compiled(images)).tobytes()).hexdigest()
    collectives = sorted(set(re.findall(COLLECTIVE, compiled.as_text())))
    print(json.dumps({"digest": digest, "collectives": collectives}))


if __name__ == "__main__":
    main()
