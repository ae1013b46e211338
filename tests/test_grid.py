"""The grid that quantised weights lie on is found again, whatever was folded into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ndeploy.quantize import _grid

Floats = Any


def _coarsest(whole: Floats) -> Floats:
    """By row, the greatest number that divides all of it; 1 for a row of zeros."""
    return np.maximum(np.gcd.reduce(whole, axis=1), 1)


@st.composite
def quantised_rows(draw: Any) -> tuple[Floats, Floats, Floats, int]:
    """(mantissas, weights in float64, step by row, bits): rows of integers times a float32 step, then by row a factor,
    as folding a batch norm gives them; some rows zero, some with a common factor."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, rows, columns = draw(st.integers(2, 8)), draw(st.integers(1, 12)), draw(st.integers(1, 40))
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (rows, columns))
    whole[rng.random(rows) < 0.2] = 0
    common = rng.random(rows) < 0.3
    whole[common] = (whole[common] / 2).astype(np.int64) * 2
    step = np.float32(np.exp(rng.uniform(-12, 4)))
    factor = np.ones(rows) if draw(st.booleans()) else rng.normal(size=rows)
    stored = (whole.astype(np.float32) * step).astype(np.float64)
    weight = stored * factor[:, None]
    if draw(st.booleans()):  # folded in float32, or stored once more
        weight = weight.astype(np.float32).astype(np.float64)
    return whole, weight, np.abs(float(step) * factor), bits


def _find(weight: Floats, bits: int, shared: bool = False) -> _grid.Grid | None:
    rows, columns = weight.shape
    return _grid.find(weight.reshape(-1), np.repeat(np.arange(rows), columns), rows, bits, shared=shared)


@settings(max_examples=120, deadline=None)
@given(quantised_rows())
def test_the_step_of_every_row_is_found_again(made: tuple[Floats, Floats, Floats, int]) -> None:
    whole, weight, step, bits = made
    grid = _find(weight, bits)
    assert grid is not None
    found = grid.mantissas.reshape(weight.shape)
    np.testing.assert_allclose(found * grid.step[:, None], weight, rtol=2.0**-21, atol=0)
    assert grid.bits <= bits
    assert (grid.step > 0).all()
    live = whole.any(axis=1)
    if grid.shared:  # one step for all: the coarsest that there is
        assert np.ptp(grid.step) == 0
        assert np.gcd.reduce(found.reshape(-1)) in (0, 1)
    else:
        np.testing.assert_allclose(grid.step[live], (step * _coarsest(whole))[live], rtol=1e-6)
        assert (_coarsest(found)[live] == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_one_step_for_all_rows_is_preferred(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (6, 9))
    whole[0, 0], whole[1] = top, (whole[1] / 2).astype(np.int64) * 2  # the second row alone would take twice the step
    weight = (whole.astype(np.float32) * np.float32(rng.uniform(0.01, 3))).astype(np.float64)
    grid = _find(weight, bits)
    assert grid is not None
    assert grid.shared
    common = np.gcd.reduce(whole.reshape(-1))
    np.testing.assert_array_equal(grid.mantissas.reshape(whole.shape), whole // common)
    assert grid.bits == max(2, int(max(whole.max() // common, -whole.min() // common)).bit_length() + 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_weights_on_no_grid_are_told_apart(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(4, 30))
    assert _find(weight, bits) is None
    worst, off = _grid.misfit(weight.reshape(-1), np.repeat(np.arange(4), 30), 4, bits)
    assert 0 <= worst < 4
    assert 0.1 < off <= 0.5
    whole = rng.integers(-1, 2, (4, 30)).astype(np.float64)
    whole[:, 0] = 1
    whole[2, 3] += 1e-3
    assert _find(whole, bits) is None
    worst, off = _grid.misfit(whole.reshape(-1), np.repeat(np.arange(4), 30), 4, bits)
    assert worst == 2
    assert off == pytest.approx(1e-3, rel=0.01) or off < 1e-3 * 2 ** (bits - 1)


def test_the_range_of_a_signed_field() -> None:
    rows = np.array([[-8.0, 7.0, 1.0]]) * 0.1
    grid = _find(rows, 4)
    assert grid is not None
    assert grid.bits == 4
    assert _find(-rows, 4) is None, "+8 takes five bits"
    turned = _find(-rows, 5)
    assert turned is not None
    assert turned.bits == 5


def test_nothing_but_zeros() -> None:
    grid = _find(np.zeros((3, 4)), 2)
    assert grid is not None
    assert (grid.bits, grid.shared, grid.step.tolist()) == (2, True, [1.0, 1.0, 1.0])
