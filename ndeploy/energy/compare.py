"""Estimates side by side: what of their difference is certain, and what the bounds of the constants leave open.

Two estimates whose intervals overlap may still be told apart. Where both were priced with the same constants, a
constant that is high for one is high for the other: the ratio of the two sums is then bounded by its least and its
greatest value over all constants within their bounds (a linear-fractional programme over a box; the optimum is at a
corner, and in the order of the ratios of counts there are only as many corners to look at as there are terms).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport, Term

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "energy": ("dynamic energy", "J"),
    "static": ("static energy", "J"),
    "host": ("host energy", "J"),
    "total": ("total energy", "J"),
    "latency": ("latency", "s"),
    "interval": ("time between samples", "s"),
}
"""What is compared: its words and its unit."""
SUMMED = {"energy": "chip", "host": "host"}
"""Quantities that are sums of counts times prices, and the group of their terms."""
VERDICTS = ("more", "less", "equal", "open", "unknown")
"""more, less: whatever the constants are within their bounds; equal: the same counts at the same constants; open: the
bounds allow either; unknown: one of the two has no number."""
_SAME = 1e-9


@dataclass(frozen=True)
class Cost:
    """What of an estimate is compared. quantities: by key of `QUANTITIES`, None where not known; terms: of the groups
    in `SUMMED`, with counts and the price of one event."""

    target: str
    model: str
    quantities: Mapping[str, Range | None]
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """One quantity of an estimate over that of the first. ratio: of the nominals, with its bounds; None where not
    known. shared: the bounds are those of common constants, not of two independent intervals; verdict: one of
    `VERDICTS`."""

    quantity: str
    ratio: Range | None
    shared: bool
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "quantity": self.quantity,
            "ratio": None if self.ratio is None else self.ratio.to_json(),
            "common_constants": self.shared,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """Several estimates. names: one each, all different; contrasts: for each report but the first, its quantities over
    the first's; warnings: why a difference may not be one of the programs."""

    names: tuple[str, ...]
    reports: tuple[EnergyReport, ...]
    contrasts: tuple[tuple[Contrast, ...], ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data: every report in full, and each quantity of the others over the first's."""
        return {
            "artifacts": [
                {"name": name, **report.to_json()} for name, report in zip(self.names, self.reports, strict=True)
            ],
            "compared_with": self.names[0],
            "contrasts": [
                {"name": name, "quantities": [c.to_json() for c in found]}
                for name, found in zip(self.names[1:], self.contrasts, strict=True)
            ],
            "warnings": list(self.warnings),
        }


def cost_of(report: EnergyReport) -> Cost:
    """What of a report is compared."""
    known = {name: getattr(report, name) for name in QUANTITIES}
    return Cost(report.target, report.model, known, tuple(t for t in report.terms if t.group in SUMMED.values()))


def compare(reports: Sequence[EnergyReport], names: Sequence[str] | None = None) -> Comparison:
    """Reports side by side, each over the first. names: of the artifacts, as "a.ndp"; the programs' by default.

    Raises ValueError for fewer than two reports, and for names that are not one a report.
    """
    if len(reports) < 2:
        raise ValueError("a comparison needs two estimates or more")
    named = [report.program for report in reports] if names is None else list(names)
    if len(named) != len(reports):
        raise ValueError(f"{len(named)} names for {len(reports)} estimates")
    costs = [cost_of(report) for report in reports]
    found = tuple(contrasts(costs[0], cost) for cost in costs[1:])
    return Comparison(_distinct(named), tuple(reports), found, _warnings(reports))


def contrasts(first: Cost, second: Cost) -> tuple[Contrast, ...]:
    """Every quantity of the second over the first's."""
    return tuple(contrast(first, second, quantity) for quantity in QUANTITIES)


def contrast(first: Cost, second: Cost, quantity: str) -> Contrast:
    """One quantity of the second over the first's."""
    a, b = first.quantities.get(quantity), second.quantities.get(quantity)
    if a is None or b is None:
        return Contrast(quantity, None, False, "unknown")
    if quantity in SUMMED and (bounds := _shared(first, second, quantity)) is not None:
        return Contrast(quantity, bounds, True, _verdict(bounds))
    if min(a.low, a.nominal) <= 0:
        # nothing to divide by: said only where one lies above the other
        apart = "more" if b.low > a.high else "open"
        return Contrast(quantity, None, False, "unknown" if a.high == b.high == 0 else apart)
    bounds = Range(b.low / a.high, b.nominal / a.nominal, b.high / a.low)
    return Contrast(quantity, bounds, False, _verdict(bounds))


def ratio_bounds(counts: Sequence[tuple[float, float]], prices: Sequence[Range]) -> tuple[float, float]:
    """The least and the greatest of sum(b p) / sum(a p) over all prices p within their bounds.

    counts: (a, b) by event, none negative; prices: of one event. Charnes and Cooper (1962): a linear-fractional
    function is quasilinear, so each price is at a bound, and at the optimum the high ones are those of the greatest
    b / a.
    Raises ZeroDivisionError where sum(a p) can be zero.
    """
    order = sorted(range(len(counts)), key=lambda i: math.atan2(counts[i][1], counts[i][0]))

    def value(high: Sequence[int], low: Sequence[int]) -> float:
        above = sum(counts[i][1] * prices[i].high for i in high) + sum(counts[i][1] * prices[i].low for i in low)
        below = sum(counts[i][0] * prices[i].high for i in high) + sum(counts[i][0] * prices[i].low for i in low)
        return above / below

    cuts = range(len(order) + 1)
    return min(value(order[:k], order[k:]) for k in cuts), max(value(order[k:], order[:k]) for k in cuts)


def _shared(first: Cost, second: Cost, quantity: str) -> Range | None:
    """Bounds of the ratio of two sums at common constants; None where the constants are not the same."""
    if first.model != second.model:
        return None
    group = SUMMED[quantity]
    a, b = ({t.name: t for t in cost.terms if t.group == group} for cost in (first, second))
    counts, prices = [], []
    for name in sorted({*a, *b}):
        units = [t.unit_energy for t in (a.get(name), b.get(name)) if t is not None]
        if units[0] is None or any(unit != units[0] for unit in units):
            return None
        prices.append(units[0])
        counts.append(tuple(0.0 if t is None else t.count for t in (a.get(name), b.get(name))))
    pairs = [(x, y) for x, y in counts]
    for cost, of in ((first, 0), (second, 1)):
        energy = cost.quantities[quantity]
        # only where the terms are the whole sum
        if energy is None or not _is_sum(energy, [pair[of] for pair in pairs], prices):
            return None
    one, other = first.quantities[quantity], second.quantities[quantity]
    if one is None or other is None or one.low <= 0:
        return None
    low, high = ratio_bounds(pairs, prices)
    nominal = other.nominal / one.nominal
    return Range(min(low, nominal), nominal, max(high, nominal))


def _is_sum(energy: Range, counts: Sequence[float], prices: Sequence[Range]) -> bool:
    for bound in ("low", "nominal", "high"):
        total = sum(count * getattr(price, bound) for count, price in zip(counts, prices, strict=True))
        if not math.isclose(total, getattr(energy, bound), rel_tol=_SAME, abs_tol=1e-30):
            return False
    return True


def _verdict(ratio: Range) -> str:
    if math.isclose(ratio.low, 1.0, rel_tol=_SAME) and math.isclose(ratio.high, 1.0, rel_tol=_SAME):
        return "equal"
    if ratio.low > 1.0:
        return "more"
    return "less" if ratio.high < 1.0 else "open"


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names that occur more than once get their place."""
    return tuple(f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names))


def _warnings(reports: Sequence[EnergyReport]) -> tuple[str, ...]:
    """What differs beside the programs, one sentence each."""
    found = []
    for what, values, so in (
        ("targets", [r.target for r in reports], "the difference is that of the chips as much as of the programs"),
        ("price tables", [r.model for r in reports], "a difference may be one of the constants alone"),
        ("networks", [_network(r) for r in reports], "they need not solve the same task"),
        ("data", [_data(r) for r in reports], "event counts depend on the samples"),
        ("numbers of samples", [str(r.samples) for r in reports], "event counts are means over the samples"),
        ("modes", [r.mode for r in reports], "the time between samples differs by more than the work"),
    ):
        different = list(dict.fromkeys(values))
        if len(different) > 1 and None not in different:
            found.append(f"different {what} ({', '.join(map(str, different))}): {so}")
    priced = {r.energy is None for r in reports}
    if len(priced) > 1:
        found.append("some have events without a price and no total: only counts can be compared with those")
    if any(r.bound is not None for r in reports):
        found.append("a bound is what the priced terms sum to: it is no estimate and is not compared")
    return tuple(found)


def _network(report: EnergyReport) -> str | None:
    """What the program was compiled from, where the report says it."""
    return _digest(report.provenance.get("source")) or report.program


def _data(report: EnergyReport) -> str | None:
    return _digest(report.provenance.get("data"))


def _digest(entry: Any) -> str | None:
    """The first characters of a file's sha256 with its name, as provenance holds it: a mapping or a text."""
    if isinstance(entry, Mapping):
        name, digest = entry.get("name"), entry.get("sha256")
        if isinstance(digest, str):
            return f"{name} {digest[:12]}" if isinstance(name, str) else digest[:12]
        return name if isinstance(name, str) else None
    return entry if isinstance(entry, str) and entry else None
