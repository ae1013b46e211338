"""Fixed-point functions against the real ones, over every argument where there are few enough, and Python integers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndeploy import fixed
from ndeploy.fixed import divide, exp2_negative, rescale, round_shift, sigmoid, square_root

WIDE = st.integers(-(2**39), 2**39)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def test_sigmoid_errs_by_no_more_than_its_docstring_says() -> None:
    x = np.arange(-17 * 4096, 17 * 4096 + 1)
    found = sigmoid(x)
    error = np.abs(found - 2.0**15 / (1.0 + np.exp(-x / 4096.0)))
    assert 2.0 < error.max() < 2.2
    assert error.max() / 2**15 < 6.8e-5
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1], int(sigmoid(np.array(0)))) == (0, 2**15, 2**14)
    # far outside the table the ends hold, and sigmoid's symmetry holds to the error of both sides
    np.testing.assert_array_equal(sigmoid(np.array([-(2**62), -(2**24), 2**24, 2**62])), [0, 0, 2**15, 2**15])
    assert np.abs(found + found[::-1] - 2**15).max() <= 4


def test_exp2_errs_by_no_more_than_its_docstring_says() -> None:
    x = np.arange(24 * 4096)
    found = exp2_negative(x)
    error = found - 2.0 ** (16 - x / 4096.0)
    assert -1.0 < error.min() < -0.9
    assert 1.6 < error.max() < 1.65
    assert np.abs(error).max() / 2**16 < 2.6e-5
    assert (np.diff(found) <= 0).all()
    assert found[0] == 2**16
    np.testing.assert_array_equal(exp2_negative(np.array([17 * 4096 + 1, 64 << 12, 2**60])), 0)


@pytest.mark.parametrize(
    ("table", "real"),
    [
        (fixed._SIGMOID, lambda i: 2**15 / (1 + math.exp(-(i - 256) / 16))),
        (fixed._EXP2, lambda i: 2 ** (16 - i / 64)),
    ],
)
def test_tables_are_the_same_on_every_machine(table: np.ndarray, real) -> None:
    # no entry is so near a tie that another library's last digit could round it otherwise
    for i, entry in enumerate(table):
        assert abs(real(i) - int(entry)) < 0.4999
        assert isinstance(int(entry), int)


@given(WIDE, st.integers(0, 40))
def test_round_shift_is_to_nearest_with_halves_up(x: int, bits: int) -> None:
    assert int(round_shift(np.array(x), bits)) == half_up(Fraction(x, 2**bits))


@given(st.lists(st.tuples(st.integers(-(2**23), 2**23), st.integers(0, 2**16 - 1), st.integers(0, 40)), min_size=1))
def test_rescale_takes_constants_by_neuron(rows: list[tuple[int, int, int]]) -> None:
    x, multiplier, shift = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    expected = [half_up(Fraction(a * m, 2**s)) for a, m, s in rows]
    np.testing.assert_array_equal(rescale(x, multiplier, shift), expected)


@given(st.integers(0, 2**62 - 1))
def test_square_root_is_exact(x: int) -> None:
    assert int(square_root(np.array(x))) == math.isqrt(x)


@given(st.integers(0, 2**31 - 1), st.sampled_from((-1, 0, 1)))
def test_square_root_is_exact_beside_squares(root: int, off: int) -> None:
    x = max(0, min(2**62 - 1, root * root + off))
    assert int(square_root(np.array(x))) == math.isqrt(x)


@given(st.integers(-(2**60), 2**60), st.integers(1, 2**45))
def test_divide_is_to_nearest_with_halves_up(x: int, y: int) -> None:
    assert int(divide(np.array(x), np.array(y))) == half_up(Fraction(x, y))


@pytest.mark.parametrize("function", [sigmoid, exp2_negative, square_root])
def test_shapes_are_kept_and_arguments_are_not_changed(function) -> None:
    x = np.arange(24).reshape(2, 3, 4) * 1000
    before = x.copy()
    found = function(x)
    assert found.shape == x.shape
    assert found.dtype == np.int64
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(found[1, 2, 3], function(x[1, 2, 3]))
