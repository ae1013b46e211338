"""A published measurement and what this compiler computes for it, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ndeploy.energy.ranges import Range, plain

RECOMPUTED = "recomputed"
"""From the published network and placement rule, with events counted in a run."""
SHAPE_ONLY = "shape only"
"""From the published shapes with an activity that is stated, or that comes from another input than published."""
ANCHOR = "anchor"
"""Published totals beside a constant that was composed with them: shown, and judged neither right nor wrong."""
ABSENT = "not computed"
"""Too little is published, or the network is not on this machine."""
BASES = (RECOMPUTED, SHAPE_ONLY, ANCHOR, ABSENT)


@dataclass(frozen=True)
class Measurement:
    """What somebody measured.

    name: unique, as "pilotnet-lif/energy"; workload: what ran, on what; quantity: as a reader calls it; value: in
    `unit` (J, W, 1/s, s, or what is counted); status: one of `ndeploy.target.STATUSES`; tolerance: the share by which
    an estimate without bounds may differ and still agrees (0.15: 15 %).
    """

    name: str
    workload: str
    quantity: str
    value: float
    unit: str
    source: str
    status: str
    tolerance: float = 0.0


@dataclass(frozen=True)
class Row:
    """A measurement beside its estimate. basis: one of `BASES`; how: what was computed, in a sentence; missing: what
    the estimate lacks, and why it is off where it is."""

    measurement: Measurement
    estimate: Range | None
    basis: str
    how: str
    missing: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """Nominal over measured, less one; None without an estimate."""
        return None if self.estimate is None else self.estimate.nominal / self.measurement.value - 1.0

    @property
    def inside(self) -> bool | None:
        """Whether the measured value lies between low and high, or nominal is within the tolerance; None without an
        estimate and for anchors."""
        if self.estimate is None or self.error is None or self.basis == ANCHOR:
            return None
        held = self.estimate.low <= self.measurement.value <= self.estimate.high
        return held or abs(self.error) <= self.measurement.tolerance

    @property
    def width(self) -> float | None:
        """High over low; None without an estimate or where low is zero."""
        return None if self.estimate is None or not self.estimate.low else self.estimate.high / self.estimate.low

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self.measurement),
            "estimate": plain(self.estimate),
            "error": self.error,
            "inside": self.inside,
            "basis": self.basis,
            "how": self.how,
            "missing": list(self.missing),
        }


def exactly(count: float) -> Range:
    """A count, which has no bounds."""
    return Range(float(count), float(count), float(count))


def rate(interval: Range) -> Range:
    """Events a second from the seconds between two of them."""
    return Range(1.0 / interval.high, 1.0 / interval.nominal, 1.0 / interval.low)
