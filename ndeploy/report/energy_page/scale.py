"""Axes: where a value stands, as a share of the axis' length, and which values are written at it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
DECADE = 10.0


@dataclass(frozen=True)
class Scale:
    """From low (share 0) to high (share 1), linear or logarithmic; ticks: values inside."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The share of the axis, 0 to 1; what lies outside is drawn at its end."""
        if not math.isfinite(value):
            return 0.0
        if self.logarithmic:
            if value <= self.low:
                return 0.0
            found = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            found = (value - self.low) / (self.high - self.low)
        return min(max(found, 0.0), 1.0)


def linear(values: Iterable[float], ticks: int = 4) -> Scale:
    """From zero to the largest value, with round ticks; from 0 to 1 where nothing is larger than zero."""
    high = max((v for v in values if math.isfinite(v)), default=0.0)
    if high <= 0:
        return Scale(0.0, 1.0, (0.0,))
    step = _round_up(high / ticks)
    # the axis ends a little beyond the last whisker, so that its cap is seen
    end = high * 1.02
    return Scale(0.0, end, tuple(step * i for i in range(int(end / step) + 1)))


def between(values: Iterable[float], ticks: int = 4) -> Scale:
    """From a round value below the least to one above the largest."""
    found = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(found), max(found)
    step = _round_up(max(high - low, 1e-3 * max(abs(high), 1e-9)) / ticks)
    first = math.floor(low / step - 1e-9)
    last = math.ceil(high / step + 1e-9)
    return Scale(first * step, last * step, tuple(step * i for i in range(first, last + 1)))


def logarithmic(values: Iterable[float]) -> Scale:
    """Whole decades around all positive values, ticks a whole number of decades apart."""
    found = [v for v in values if math.isfinite(v) and v > 0] or [1.0]
    first, last = math.floor(math.log10(min(found)) + 1e-9), math.ceil(math.log10(max(found)) - 1e-9)
    last = max(last, first + 1)
    every = -(-(last - first) // 5)
    ticks = tuple(DECADE**i for i in range(first, last + 1, every))
    return Scale(DECADE**first, DECADE**last, ticks, logarithmic=True)


def _round_up(step: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = DECADE ** math.floor(math.log10(step))
    return next(power * s for s in STEPS if power * s >= step * (1 - 1e-9))
