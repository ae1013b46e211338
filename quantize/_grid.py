"""The grid that weights lie on: the largest step of which all of them are whole multiples.

A weight that training quantised is q s rounded to float32, q a whole number and s the step; folding a batch norm
multiplies every channel by a factor of its own, and may round to float32 once more. So a weight is q t (1 + e) with
one t for each channel and |e| of a few 2^-24. The largest |weight| of a channel is k t for one of k = 1, 2, ...: the
first k for which every other weight is whole is the coarsest grid, the one with the fewest bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.ir.lowered import FloatArray

TOLERANCE = 2.0**-22
"""How far a weight may lie from its multiple, as a share of it: four roundings to float32."""
SAMPLE = 24
"""Weights of a group that a step is tried on before it is tried on all of them."""


@dataclass(frozen=True, eq=False)
class Grid:
    """weight = mantissa * step of its group, within `TOLERANCE`. step: (groups,) positive; mantissas: as the weights;
    shared: whether one step serves all groups."""

    step: FloatArray
    mantissas: IntArray
    shared: bool

    @property
    def bits(self) -> int:
        """Bits of the widest mantissa, signed."""
        return signed_bits(self.mantissas)


def signed_bits(mantissas: npt.NDArray[np.integer]) -> int:
    """Bits that hold all of them in two's complement, at least 2."""
    low, high = int(mantissas.min(initial=0)), int(mantissas.max(initial=0))
    return max(2, high.bit_length() + 1, (-low - 1).bit_length() + 1 if low < 0 else 0)


def find(weight: FloatArray, group: IntArray, groups: int, bits: int, *, shared: bool = False) -> Grid | None:
    """The coarsest grid of at most `bits` bits: with one step for all weights where there is such, else with one for
    each group; None where some weight is no multiple of any step.

    weight, group: (weights,), the number of each weight's group; shared: only one step for all will do. A group whose
    weights are all zero takes the smallest step of the others (1 where there are none).
    """
    largest = 1 << (bits - 1)
    together = _steps(weight, np.zeros(weight.size, dtype=np.int64), 1, largest)
    if not np.isnan(together).any():
        grid = _grid(weight, group, np.full(groups, together[0] or 1.0), True)
        if grid.bits <= bits:
            return grid
    if shared:
        return None
    steps = _steps(weight, group, groups, largest)
    if np.isnan(steps).any():
        return None
    found = steps[steps > 0]
    grid = _grid(weight, group, np.where(steps > 0, steps, found.min(initial=np.inf) if found.size else 1.0), False)
    return grid if grid.bits <= bits else None


def misfit(weight: FloatArray, group: IntArray, groups: int, bits: int) -> tuple[int, float]:
    """(group, distance): of the first groups without a grid of `bits` bits the one farthest from any, and how far from
    its nearest multiple its worst weight is on the best step there is, in steps (0 .. 0.5); (0, 0) for none."""
    worst, farthest = 0, -1.0
    largest = 1 << (bits - 1)
    without = np.flatnonzero(np.isnan(_steps(weight, group, groups, largest)))[:SAMPLE]
    for g in without.tolist():
        magnitude = np.abs(weight[group == g])
        ratios = (magnitude * (k / magnitude.max()) for k in range(1, largest + 1))
        least = min(float(np.abs(ratio - np.rint(ratio)).max()) for ratio in ratios)
        if least > farthest:
            worst, farthest = g, least
    return worst, max(farthest, 0.0)


def _grid(weight: FloatArray, group: IntArray, step: FloatArray, shared: bool) -> Grid:
    return Grid(step, np.rint(weight / step[group]).astype(np.int64), shared)


def _steps(weight: FloatArray, group: IntArray, groups: int, largest: int) -> FloatArray:
    """The largest step of every group whose multiples up to `largest` are its weights: 0 for a group of zeros, NaN for
    one without."""
    order = np.argsort(group, kind="stable")
    magnitude, owner = np.abs(weight)[order], group[order]
    start = np.searchsorted(owner, np.arange(groups + 1))
    top = np.zeros(groups)
    np.maximum.at(top, owner, magnitude)
    sample = _sample(magnitude, start)
    step = np.where(top > 0, np.nan, 0.0)
    for k in range(1, largest + 1):
        waiting = np.flatnonzero(np.isnan(step))
        if not waiting.size:
            break
        ratio = sample[waiting] * (k / top[waiting])[:, None]
        whole = np.rint(ratio)
        # the step is known as well as the largest weight: both are off by as much
        fits = (np.abs(ratio - whole) <= 2 * TOLERANCE * np.maximum(whole, 1)).all(axis=1)
        for g in waiting[fits].tolist():
            exact = _refined(magnitude[start[g] : start[g + 1]], top[g] / k)
            if exact is not None:
                step[g] = exact
    return step


def _sample(magnitude: FloatArray, start: IntArray) -> FloatArray:
    """(groups, SAMPLE): weights spread over each group, zeros where it has fewer."""
    size = np.diff(start)
    at = (np.arange(SAMPLE)[None, :] * np.maximum(size, 1)[:, None]) // SAMPLE
    inside = np.minimum(start[:-1, None] + at, max(magnitude.size - 1, 0))
    return np.asarray(np.where(size[:, None] > 0, magnitude[inside] if magnitude.size else 0.0, 0.0))


def _refined(magnitude: FloatArray, step: float) -> float | None:
    """The step that fits all weights best, from one off by a rounding; None where one of them is no multiple."""
    whole = np.rint(magnitude / step)
    best = float(magnitude @ whole / (whole @ whole))
    off = np.abs(magnitude - whole * best)
    return best if bool((off <= TOLERANCE * np.maximum(magnitude, best)).all()) else None
