"""What a report says in one sentence: what a sample costs, and whether spiking pays under the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import Baseline, EnergyReport
from ndeploy.report.energy_page.numbers import full, times

SPIKING, QUANTISED, FLOAT = "spiking", "quantised", "float"
GRADED = "graded network"
"""What baselines call a program whose messages are graded: it is run event by event, as spiking ones are."""
EVEN = 1.02
"""A ratio of nominal energies below which two networks cost the same as far as three digits tell."""


@dataclass(frozen=True)
class Contest:
    """The spiking network against an ANN under one set of rules. ratio: the ANN's nominal energy over the spiking
    network's; apart: whether the intervals do not overlap, so that the order is certain."""

    rules: str
    opponent: str
    ratio: float
    apart: bool


def kind(baseline: Baseline) -> str:
    """ "spiking" (the program as it was run), "quantised" or "float", "" for others."""
    name = baseline.name.lower()
    if name.startswith(GRADED):
        return SPIKING
    return next((found for found in (SPIKING, QUANTISED, FLOAT) if found in name), "")


def contests(baselines: Sequence[Baseline]) -> tuple[Contest, ...]:
    """Every ANN against the spiking network of the same rules, quantised ANNs first."""
    spiking = {b.rules: b for b in baselines if kind(b) == SPIKING}
    found = []
    for wanted in (QUANTISED, FLOAT):
        for other in baselines:
            ours = spiking.get(other.rules)
            if kind(other) != wanted or ours is None or ours.energy.nominal <= 0 or other.energy.nominal <= 0:
                continue
            found.append(
                Contest(
                    other.rules,
                    other.name,
                    other.energy.nominal / ours.energy.nominal,
                    _apart(ours.energy, other.energy),
                )
            )
    return tuple(found)


def _apart(a: Range, b: Range) -> bool:
    return a.high < b.low or b.high < a.low


def verdict(report: EnergyReport) -> str:
    """One sentence: dynamic energy, time, and the spiking network against the quantised ANN."""
    said = cost(report)
    if report.latency is not None:
        said += f", and takes {full(report.latency, 's')}"
    compared = pays(report)
    return f"{said}; {compared}." if compared else f"{said}."


def named(report: EnergyReport) -> str:
    """What the program is called: by its artifact, where that is known, for programs of one kind share a name."""
    artifact = report.provenance.get("artifact")
    name = artifact.get("name") if isinstance(artifact, Mapping) else None
    return name if isinstance(name, str) and name else report.program


def cost(report: EnergyReport) -> str:
    """What is known of the energy, without a full stop."""
    what = f"A sample of {named(report)} on {report.target}"
    if report.energy is not None:
        return f"{what} costs {full(report.energy, 'J')} of {spent(report)}"
    without = [term.name for term in report.terms if term.group == "chip" and term.energy is None and term.count]
    if report.bound is not None:
        missing = f"{', '.join(without)} not in it, for want of a price" if without else "not everything is priced"
        return f"{what} costs at least {full(report.bound, 'J')} of {spent(report)} ({missing})"
    if without and any(term.energy is not None for term in report.terms if term.group == "chip"):
        return f"{what} has no total: no price is known of {', '.join(without)}"
    return f"{what} has no energy: no prices are known"


def all_in(report: EnergyReport) -> bool:
    """Whether the prices hold a chip's whole energy, so that the sum is not its dynamic energy alone."""
    return any(term.scope == "all-in" for term in report.terms if term.group == "chip")


def spent(report: EnergyReport) -> str:
    """What kind of energy `EnergyReport.energy` is."""
    return "energy, static power included by all-in prices" if all_in(report) else "dynamic energy"


def pays(report: EnergyReport) -> str:
    """Whether spiking pays against the quantised ANN, rule by rule; "" where nothing can be compared."""
    found = [c for c in contests(report.baselines) if QUANTISED in c.opponent.lower()]
    if not found:
        return ""
    what = "running event by event" if any(b.name.lower().startswith(GRADED) for b in report.baselines) else "spiking"
    sides = {_side(c) for c in found}
    # where sides differ each rule has its own doubt; where they agree it is said once
    parts = [
        _against(c) + (" (intervals overlap)" if len(sides) > 1 and _side(c) and not c.apart else "") for c in found
    ]
    if sides == {1}:
        answer = f"{what} pays"
    elif sides == {-1}:
        answer = f"{what} does not pay"
    elif len(sides) > 1:
        answer = f"whether {what} pays depends on the rules"
    else:
        answer = f"{what} costs what the quantised ANN costs"
    doubt = (
        ", though the intervals overlap" if len(sides) == 1 and sides != {0} and not all(c.apart for c in found) else ""
    )
    return f"{answer}{doubt}: {' and '.join(parts)}"


def _side(contest: Contest) -> int:
    return 0 if 1 / EVEN < contest.ratio < EVEN else 1 if contest.ratio > 1 else -1


def _against(contest: Contest) -> str:
    side = _side(contest)
    who, _, rules = contest.rules.partition(": ")
    by = f"{who} ({rules})" if rules else who
    if side == 0:
        return f"as much as the quantised ANN by {by}"
    ratio = contest.ratio if side > 0 else 1 / contest.ratio
    return f"{times(ratio)} {'less' if side > 0 else 'more'} than the quantised ANN by {by}"
