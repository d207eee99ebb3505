"""The convolution over all channels against XLA's own and a float64 loop: matrix product, thin and plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax.models.ops.convolution import conv, plain_conv, shifted_thin_conv
from cnn_jax.models.ops.shifts import Pads
from cnn_jax.models.ops.winograd import winograd_conv
from tests.models.convolutions import Tolerances, assert_close, loop_reference, out_size, resolve, value_and_gradients

Case = tuple[tuple[int, ...], int, tuple[int, int], tuple[int, int], str | Pads]
"""([batch, height, width, channels], features, kernel size, strides, padding)"""

POINTWISE: list[Case] = [
    ((2, 5, 7, 6), 4, (1, 1), (1, 1), "SAME"),
    ((1, 1, 1, 40), 3, (1, 1), (1, 1), "VALID"),
    ((3, 4, 4, 1), 1, (1, 1), (1, 1), ((0, 0), (0, 0))),
]
THIN: list[Case] = [
    ((2, 8, 8, 3), 5, (3, 3), (2, 2), "SAME"),
    ((2, 7, 9, 3), 5, (3, 3), (2, 2), "SAME"),
    ((1, 6, 5, 3), 2, (3, 3), (1, 1), "VALID"),
    ((2, 1, 1, 3), 4, (3, 3), (2, 2), "SAME"),
    ((1, 9, 8, 1), 3, (5, 3), (1, 2), ((2, 0), (1, 3))),
    ((1, 7, 7, 2), 2, (2, 3), (3, 3), ((0, 1), (0, 1))),
    ((2, 5, 4, 6), 3, (1, 1), (2, 2), "SAME"),
    ((2, 4, 4, 6), 3, (1, 1), (1, 1), ((1, 0), (0, 2))),
    ((1, 3, 3, 32), 1, (1, 1), (2, 1), "VALID"),
]
PLAIN: list[Case] = [
    ((2, 6, 7, 8), 5, (3, 3), (1, 1), "SAME"),
    ((1, 9, 8, 6), 3, (3, 3), (2, 2), ((0, 1), (0, 1))),
    ((1, 9, 8, 4), 3, (5, 3), (1, 2), "VALID"),
    ((1, 5, 5, 33), 2, (1, 1), (3, 3), "SAME"),
]
FAST: list[Case] = [
    ((1, 27, 29, 64), 64, (3, 3), (1, 1), "SAME"),
    ((3, 15, 18, 64), 32, (3, 3), (1, 1), ((3, 0), (0, 2))),
]
CASES = POINTWISE + THIN + PLAIN + FAST

TOLERANCES: Tolerances = {"float32": (2e-5, 2e-5), "bfloat16": (2.0**-7, 2.0**-7), "float64": (1e-13, 1e-13)}


def arrays(case: Case, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    shape, features, kernel_size, _, _ = case
    shapes = shape, (*kernel_size, shape[3], features), (shape[0], *out_size(case), features)
    x, kernel, grad = (jnp.asarray(rng.normal(size=s), dtype) for s in shapes)
    return x, kernel, grad


def check(case: Case, dtype: str, *, against_plain: bool = True) -> None:
    strides, padding, pads = case[3], case[4], resolve(case)
    inputs = arrays(case, dtype)
    ours = value_and_gradients(lambda x, k: conv(x, k, strides, padding), *inputs)
    assert_close(ours, loop_reference(*map(np.asarray, inputs), strides, pads), dtype, TOLERANCES[dtype])
    if against_plain:
        assert_close(
            ours, value_and_gradients(lambda x, k: plain_conv(x, k, strides, pads), *inputs), dtype, TOLERANCES[dtype]
        )


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_in_float32_equal_the_plain_convolution_and_a_loop(case):
    check(case, "float32")


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", [POINTWISE[0], THIN[0], THIN[4], PLAIN[0]], ids=str)
def test_bfloat16_stays_bfloat16_and_near_the_loop(case):
    check(case, "bfloat16", against_plain=False)


def test_the_thin_form_rounds_a_float32_sum_once():
    case = THIN[0]
    x, kernel, grad = arrays(case, "bfloat16")
    exact = loop_reference(*map(np.asarray, (x, kernel, grad)), case[3], resolve(case))[0]
    actual = np.asarray(jax.jit(lambda x, k: shifted_thin_conv(x, k, case[3], resolve(case)))(x, kernel), np.float64)
    np.testing.assert_allclose(actual, exact, rtol=2.0**-8, atol=1e-5)


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", [POINTWISE[0], THIN[0], THIN[4], PLAIN[1]], ids=str)
def test_float64_is_computed_in_float64(case):
    with jax.enable_x64(True):
        check(case, "float64")


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("width", "pads"), [(4, "SAME"), (9, "SAME"), (7, "VALID"), (3, ((0, 1), (2, 3))), (14, ((3, 0), (0, 3)))]
)
def test_half_the_products_give_the_sums_of_a_loop_in_float64(width: int, pads: str | Pads) -> None:
    case = ((2, 5, width, 24), 7, (3, 3), (1, 1), pads)
    x, kernel, grad = arrays(case, "float32")
    exact = loop_reference(*map(np.asarray, (x, kernel, grad)), (1, 1), resolve(case))[0]
    found = np.asarray(winograd_conv(x, kernel, resolve(case)), np.float64)
    np.testing.assert_allclose(found, exact, rtol=0, atol=3e-6 * np.abs(exact).max())


pad_pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))


@pytest.mark.long
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 8), st.integers(1, 5)),
    features=st.integers(1, 4),
    kernel_size=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 2),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(pad_pairs, pad_pairs)),
)
def test_any_size_kernel_stride_and_padding_equals_the_loop(shape, features, kernel_size, strides, padding):
    case = (shape, features, kernel_size, strides, padding)
    assume(min(out_size(case)) >= 1)
    check(case, "float32", against_plain=False)


def lowered(case: Case, platform: str) -> str:
    x, kernel, _ = arrays(case, "float32")
    traced = jax.jit(lambda x, k: conv(x, k, case[3], case[4])).trace(x, kernel)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_a_pointwise_convolution_is_one_matrix_product_everywhere(platform):
    text = lowered(POINTWISE[0], platform)
    assert "stablehlo.convolution" not in text
    assert text.count("stablehlo.dot_general") == 1


@pytest.mark.parametrize("case", [THIN[6], THIN[7], PLAIN[3]], ids=str)
def test_a_pointwise_kernel_with_strides_or_pads_is_no_matrix_product(case):
    assert "stablehlo.dot_general" not in lowered(case, "cpu")


def test_few_channels_run_without_a_convolution_on_cpu_and_with_one_on_accelerators():
    assert "stablehlo.convolution" not in lowered(THIN[0], "cpu")
    assert lowered(THIN[0], "cuda").count("stablehlo.convolution") == 1


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_some_channels_run_as_one_convolution_everywhere(platform):
    assert lowered(PLAIN[0], platform).count("stablehlo.convolution") == 1


def test_many_channels_and_pixels_take_six_of_a_quarter_of_the_columns_on_cpu_and_one_on_accelerators():
    assert lowered(FAST[0], "cpu").count("stablehlo.convolution") == 6
    assert lowered(FAST[0], "cuda").count("stablehlo.convolution") == 1
