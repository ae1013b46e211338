"""A quantity with bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A quantity with bounds, in the unit of what it belongs to."""

    low: float
    nominal: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.nominal + other.nominal, self.high + other.high)

    def times(self, factor: float) -> Range:
        """The range scaled."""
        return Range(self.low * factor, self.nominal * factor, self.high * factor)

    def to_json(self) -> dict[str, float]:
        """Plain data."""
        return {"low": self.low, "nominal": self.nominal, "high": self.high}


ZERO = Range(0.0, 0.0, 0.0)


def plain(value: Range | None) -> dict[str, float | None]:
    """The contract's `{low, nominal, high}`, each null where nothing is known."""
    if value is None:
        return {"low": None, "nominal": None, "high": None}
    return {"low": value.low, "nominal": value.nominal, "high": value.high}
