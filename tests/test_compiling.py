"""What XLA:CPU is told, and that it changes no result."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.ops.convolution import conv, plain_conv
from cnn_jax.models.ops.pooling import max_pool
from cnn_jax.runtime import compiling

RNG = np.random.default_rng(0)
IMAGES, KERNEL = (RNG.normal(size=shape).astype(np.float32) for shape in ((8, 32, 32, 16), (3, 3, 16, 64)))


def gradients(images: jax.Array, kernel: jax.Array) -> Any:
    """Of the sum of squares of a convolution."""
    return jax.grad(lambda x, k: (plain_conv(x, k, (1, 1), ((1, 1), (1, 1))) ** 2).sum(), (0, 1))(images, kernel)


def test_no_convolution_is_left_to_the_slower_library() -> None:
    """Where it has one, it is the root of a fused computation."""
    text = compiling.jit(gradients).lower(IMAGES, KERNEL).compile().as_text()
    assert text.count(" convolution(") == 3
    assert not re.search(r"ROOT \S+ = \S+ convolution\(%param", text)


def test_gradients_are_those_of_float64() -> None:
    with jax.enable_x64(True):
        exact = gradients(IMAGES.astype(np.float64), KERNEL.astype(np.float64))
    for value, reference in zip(compiling.jit(gradients)(IMAGES, KERNEL), exact, strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def test_a_jaxlib_without_the_option_compiles_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "CPU_OPTIONS", {"xla_cpu_nothing_of_this_name": "x"})
    compiling._options.cache_clear()
    try:
        np.testing.assert_array_equal(compiling.jit(jnp.add)(1, 2), 3)
    finally:
        compiling._options.cache_clear()


def test_options_of_the_user_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=reduce")
    compiling._options.cache_clear()
    try:
        assert compiling._options() == {}
    finally:
        compiling._options.cache_clear()


def test_the_first_layer_is_not_computed_anew_for_the_gradient_of_its_pooling() -> None:
    """By counting its multiplications: one for each of the 27 taps and channels."""
    images, kernel = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32), RNG.normal(size=(3, 3, 3, 8)).astype("f")

    def loss(kernel: jax.Array, form: Any) -> jax.Array:
        return (max_pool(jax.nn.relu(form(images, kernel)), (2, 2), (2, 2), "VALID") ** 2).sum()

    form = functools.partial(conv, strides=(1, 1), padding="SAME")
    program = compiling.jit(jax.grad(functools.partial(loss, form=form)))
    products = re.findall(r"= f32\[2,32,32,8\]\S* multiply\(", program.lower(kernel).compile().as_text())
    assert len(products) == 27
    plain = functools.partial(plain_conv, strides=(1, 1), pads=((1, 1), (1, 1)))
    reference = jax.jit(jax.grad(functools.partial(loss, form=plain)))(kernel)
    np.testing.assert_allclose(program(kernel), reference, rtol=1e-4, atol=1e-3)


def test_what_is_materialized_is_computed_once_for_all_who_read_it() -> None:
    def cosines(keep: Any) -> int:
        def read(x: jax.Array) -> tuple[jax.Array, ...]:
            kept = keep(jnp.cos(x) + 1)
            return kept.sum(), kept.max(), kept - kept[0]

        text = jax.jit(read).lower(np.ones(1000, np.float32)).compile().as_text()
        return len(re.findall(r" cosine\(", text))

    assert cosines(compiling.materialized) == 1
    assert cosines(lambda array: array) > 1


def test_what_is_compiled_ahead_is_traced_once_and_its_failure_is_met_by_the_call() -> None:
    traced = []

    def doubled(array: jax.Array) -> jax.Array:
        traced.append(array.shape)
        return 2 * array

    ahead = compiling.Ahead(jax.jit(doubled))
    ahead.start(jax.ShapeDtypeStruct((3,), jnp.float32))
    ahead.start(jax.ShapeDtypeStruct((3,), jnp.float32))
    np.testing.assert_array_equal(ahead(jnp.ones(3)), np.full(3, 2))
    assert traced == [(3,)]
    failing = compiling.Ahead(jax.jit(lambda a, b: a @ b))
    failing.start(*(jax.ShapeDtypeStruct((3,), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.float32)))
    with pytest.raises(TypeError, match="dot_general"):
        failing(jnp.ones(3), jnp.ones(4))
