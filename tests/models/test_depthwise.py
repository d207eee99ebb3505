"""The depthwise convolution against the grouped convolution and a float64 loop: values, gradients, lowering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax.models.ops.depthwise import depthwise_conv, grouped_conv
from cnn_jax.models.ops.shifts import Pads
from tests.models.convolutions import Tolerances, assert_close, loop_reference, out_size, resolve, value_and_gradients

Case = tuple[tuple[int, ...], tuple[int, int], tuple[int, int], str | Pads]
"""([batch, height, width, channels], kernel size, strides, padding)"""

CASES: list[Case] = [
    ((2, 8, 8, 5), (3, 3), (1, 1), "SAME"),
    ((2, 8, 8, 5), (3, 3), (2, 2), "SAME"),
    ((2, 7, 9, 5), (3, 3), (2, 2), "SAME"),
    ((1, 9, 6, 4), (3, 3), (2, 2), "VALID"),
    ((2, 9, 8, 3), (3, 3), (2, 2), ((0, 1), (0, 1))),
    ((2, 10, 11, 3), (5, 3), (3, 3), "SAME"),
    ((1, 7, 8, 2), (3, 5), (1, 2), ((2, 0), (1, 3))),
    ((1, 6, 7, 1), (2, 1), (2, 1), ((0, 0), (3, 0))),
    ((1, 5, 9, 3), (2, 2), (3, 3), "VALID"),
    ((3, 1, 1, 4), (3, 3), (1, 1), "SAME"),
    ((3, 1, 1, 4), (3, 3), (2, 2), "SAME"),
    ((2, 2, 1, 1), (5, 5), (1, 1), "SAME"),
    ((2, 4, 3, 6), (1, 1), (1, 1), "VALID"),
    ((2, 5, 4, 6), (1, 1), (2, 3), "SAME"),
    ((1, 8, 8, 3), (3, 3), (1, 1), ((-1, 2), (0, -2))),
]

TOLERANCES: Tolerances = {"float32": (2e-5, 2e-5), "bfloat16": (2.0**-8, 2e-5), "float64": (1e-13, 1e-13)}
"""Sums in float32 or wider, then one rounding."""


def arrays(case: Case, dtype: str, seed: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    shape, kernel_size, _, _ = case
    shapes = shape, (*kernel_size, 1, shape[3]), (shape[0], *out_size(case), shape[3])
    x, kernel, grad = (jnp.asarray(rng.normal(size=s), dtype) for s in shapes)
    return x, kernel, grad


def check(case: Case, dtype: str, *, against_grouped: bool = True) -> None:
    strides, padding, pads = case[2], case[3], resolve(case)
    inputs = arrays(case, dtype)
    ours = value_and_gradients(lambda x, k: depthwise_conv(x, k, strides, padding), *inputs)
    assert_close(ours, loop_reference(*map(np.asarray, inputs), strides, pads), dtype, TOLERANCES[dtype])
    if against_grouped:
        grouped = value_and_gradients(lambda x, k: grouped_conv(x, k, strides, pads), *inputs)
        assert_close(ours, grouped, dtype, TOLERANCES[dtype])


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_in_float32_equal_the_grouped_convolution_and_a_loop(case):
    check(case, "float32")


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES[1:10:2], ids=str)
def test_bfloat16_rounds_a_float32_sum_once(case):
    check(case, "bfloat16", against_grouped=False)


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES[4:8], ids=str)
def test_float64_is_computed_in_float64(case):
    with jax.enable_x64(True):
        check(case, "float64")


pad_pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))


@pytest.mark.long
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    kernel_size=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 2),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(pad_pairs, pad_pairs)),
)
def test_any_size_kernel_stride_and_padding_equals_the_loop(shape, kernel_size, strides, padding):
    case = (shape, kernel_size, strides, padding)
    assume(min(out_size(case)) >= 1)
    check(case, "float32", against_grouped=False)


def test_default_is_stride_1_with_same_padding():
    case = ((1, 5, 6, 2), (3, 3), (1, 1), "SAME")
    x, kernel, grad = arrays(case, "float32")
    expected = loop_reference(x, kernel, grad, (1, 1), resolve(case))[0]
    np.testing.assert_allclose(depthwise_conv(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("kernel_shape", [(3, 3, 1, 4), (3, 3, 5, 1), (3, 3, 5, 5)])
def test_a_kernel_for_other_channels_is_an_error_that_names_both(kernel_shape):
    with pytest.raises(ValueError, match=r"does not fit 5 channels"):
        depthwise_conv(jnp.zeros((1, 4, 4, 5)), jnp.zeros(kernel_shape))


def lowered(platform: str, strides: tuple[int, int], *, backward: bool) -> str:
    case: Case = ((2, 8, 8, 5), (3, 3), strides, "SAME")

    def forward_and_backward(x, kernel, grad):
        return jax.vjp(lambda x, k: depthwise_conv(x, k, strides, "SAME"), x, kernel)[1](grad)

    def forward(x, kernel, grad):
        return depthwise_conv(x, kernel, strides, "SAME")

    traced = jax.jit(forward_and_backward if backward else forward).trace(*arrays(case, "float32"))
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_accelerators_get_one_grouped_convolution(platform, strides):
    text = lowered(platform, strides, backward=False)
    assert text.count("stablehlo.convolution") == 1
    assert "feature_group_count = 5" in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_convolutions_as_gradients(platform):
    assert lowered(platform, (2, 2), backward=True).count("stablehlo.convolution") == 2


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "gradients"])
def test_cpu_gets_no_convolution(strides, backward):
    assert "stablehlo.convolution" not in lowered("cpu", strides, backward=backward)
