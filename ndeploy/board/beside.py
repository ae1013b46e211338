"""A meter's reading beside an estimate: inside its bounds or outside, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ndeploy.energy.ranges import Range, plain
from ndeploy.energy.result import EnergyReport
from ndeploy.ir.result import PowerReading


def estimate_of(report: EnergyReport, reading: PowerReading) -> Range | None:
    """What the report gives for what the meter measures, J a sample: dynamic energy, or dynamic and static. None where
    a price is missing, or the meter is of another chip."""
    if reading.chip and reading.chip != report.target:
        return None
    if reading.scope == "dynamic" or report.energy is None:
        return report.energy
    return None if report.static is None else report.energy + report.static


@dataclass(frozen=True)
class Beside:
    """estimate: of what the meter measures, J a sample, None where there is none."""

    reading: PowerReading
    estimate: Range | None

    @property
    def inside(self) -> bool | None:
        """Whether the reading lies within the estimate's bounds; None without an estimate."""
        if self.estimate is None:
            return None
        return self.outside_by == 0.0

    @property
    def outside_by(self) -> float | None:
        """How far it lies outside, as a share of the bound that it passes: above 0 over the high one, below 0 under the
        low one (-1: nothing was drawn); 0 inside."""
        if self.estimate is None:
            return None
        found = self.reading.joules_per_sample
        if found < self.estimate.low * (1 - ROUNDING):
            return found / self.estimate.low - 1.0
        if found > self.estimate.high * (1 + ROUNDING):
            return found / self.estimate.high - 1.0 if self.estimate.high else float("inf")
        return 0.0

    @property
    def of_nominal(self) -> float | None:
        """The reading as a multiple of the nominal estimate; None where that is nothing."""
        if self.estimate is None or not self.estimate.nominal:
            return None
        return self.reading.joules_per_sample / self.estimate.nominal

    def to_json(self) -> dict[str, Any]:
        """Plain data, J and s."""
        outside = self.outside_by
        return {
            "joules": self.reading.joules,
            "seconds": self.reading.seconds,
            "samples": self.reading.samples,
            "joules_per_sample": self.reading.joules_per_sample,
            "meter": self.reading.meter,
            "scope": self.reading.scope,
            "discarded": self.reading.discarded,
            "estimate_joules": plain(self.estimate),
            "inside": self.inside,
            "outside_by": None if outside == float("inf") else outside,
            "of_nominal": self.of_nominal,
        }


ROUNDING = 1e-9
"""A meter counts upwards: differences of large numbers have lost digits."""


def verdict(beside: Beside) -> str:
    """One sentence."""
    from ndeploy.report.style import si

    now = si(beside.reading.joules_per_sample, "J")
    if beside.estimate is None:
        return f"{now} a sample; there is no estimate of such a chip with such prices to hold it against"
    bounds = f"{si(beside.estimate.low, 'J')} to {si(beside.estimate.high, 'J')}"
    times = beside.of_nominal
    multiple = "" if times is None else f", {times:.3g} times the nominal {si(beside.estimate.nominal, 'J')}"
    if beside.inside:
        return f"{now} a sample: inside the estimate of {bounds}{multiple}"
    share = beside.outside_by or 0.0
    where = f"{100 * abs(share):.3g} % {'above the high' if share > 0 else 'below the low'} bound"
    return f"{now} a sample: outside the estimate of {bounds}, {where}{multiple}"
