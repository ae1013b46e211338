"""What a sample costs: exact event counts times published prices. A rough estimate, and labelled as one.

Counts are a run's means a sample. Energy: each kind of event is a term, `count * price`, with low, nominal and high
prices and their source; the total sums the priced terms, all incremental (dynamic) energy of the chip, and everything
that is not in it is listed in `unpriced`. Latency: chip steps times the time of a step, which is the barrier plus the
work of the busiest core (the max-affine form of Timcheck 2026), spread evenly over a population's slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Counts
from ndeploy.neurons import Input
from ndeploy.place import Placed
from ndeploy.target import EMBEDDED_EVENT, Price, Target

LABEL = "rough estimate"


@dataclass(frozen=True)
class Term:
    """One kind of event. name: as in `target.EVENTS`; count: events a sample (mean); energy: joules a sample."""

    name: str
    count: float
    energy: Range
    source: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class EnergyReport:
    """energy, latency: joules and seconds a sample, None where the target has no prices at all.

    unpriced: what happens and is not in the total, each with its count where there is one.
    """

    target: str
    label: str
    terms: tuple[Term, ...]
    energy: Range | None
    latency: Range | None
    unpriced: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of the command line's contract."""

        def bounds(value: Range | None) -> dict[str, float | None]:
            if value is None:
                return {"low": None, "nominal": None, "high": None}
            return {"low": value.low, "nominal": value.nominal, "high": value.high}

        return {
            "target": self.target,
            "label": self.label,
            "energy_joules": bounds(self.energy),
            "latency_seconds": bounds(self.latency),
            "terms": [
                {
                    "name": term.name,
                    "count": term.count,
                    **bounds(term.energy),
                    "unit": "J",
                    "source": term.source,
                    "status": term.status,
                    "note": term.note,
                }
                for term in self.terms
            ],
            "unpriced": list(self.unpriced),
        }


def _chips(count: int) -> str:
    return f"{count} chip" if count == 1 else f"{count} chips"


def _means(counts: Mapping[str, IntArray]) -> dict[str, float]:
    return {name: float(np.mean(values)) if np.size(values) else 0.0 for name, values in counts.items()}


@dataclass(frozen=True)
class _Events:
    """Mean events a sample: kinds by projection or product, the rest by population or product."""

    synaptic_ops: dict[str, float]
    spikes: dict[str, float]
    updates: dict[str, float]
    embedded: dict[str, float]


def _events(program: Program, counts: Counts) -> _Events:
    """Raises UsageError ND430 where the counts name what the program does not have."""
    known = {p.name for p in program.populations} | {j.name for j in program.projections}
    known |= {x.name for x in program.products}
    named = {*counts.synaptic_ops, *counts.spikes, *counts.neuron_updates, *counts.embedded_ops}
    if not named <= known:
        raise UsageError(
            "ND430",
            f"counts of '{min(named - known)}', which program '{program.name}' does not have",
            help="estimate the energy of a program from a run of the same program",
        )
    inputs = {p.name for p in program.populations if isinstance(p.neuron, Input)}
    updates = {name: n for name, n in _means(counts.neuron_updates).items() if name not in inputs}
    return _Events(_means(counts.synaptic_ops), _means(counts.spikes), updates, _means(counts.embedded_ops))


def _kind(program: Program, name: str) -> str:
    """How a projection's synapses are stored: "dense", "conv" or "sparse"; a product's are sparse."""
    return next((j.synapses.kind for j in program.projections if j.name == name), "sparse")


def _messages(placed: Placed, events: _Events) -> dict[str, float]:
    """Messages a sample: each spike goes once to every box of targets, `axons / size` of them on average."""
    return {
        name: n * placed.axons[name] / placed.sizes[name]
        for name, n in events.spikes.items()
        if placed.sizes.get(name) and placed.axons.get(name)
    }


def _reads(program: Program, events: _Events) -> dict[str, float]:
    """Messages a sample by which the embedded processor hears the sums of its populations, one a neuron and update."""
    return {p.name: events.updates.get(p.name, 0.0) for p in program.populations if p.neuron.embedded}


def _totals(program: Program, placed: Placed, target: Target, events: _Events) -> dict[str, float]:
    """Events a sample by the names of `target.EVENTS`; operations of the embedded processor where it has a price."""
    totals: dict[str, float] = {}
    for name, n in events.synaptic_ops.items():
        event = f"synaptic-op.{_kind(program, name)}"
        totals[event] = totals.get(event, 0.0) + n
    totals["neuron-update"] = sum(events.updates.values())
    inputs = {p.name for p in program.populations if isinstance(p.neuron, Input)}
    totals["spike"] = sum(n for name, n in events.spikes.items() if name not in inputs)
    totals["message"] = sum(_messages(placed, events).values()) + sum(_reads(program, events).values())
    if target.price(EMBEDDED_EVENT) is not None:
        totals[EMBEDDED_EVENT] = sum(events.embedded.values())
    return totals


def _price(price: Price | None) -> Range:
    return ZERO if price is None else Range(price.low, price.nominal, price.high)


def _step_work(program: Program, placed: Placed, target: Target, events: _Events) -> Range:
    """Time of the busiest core in a chip step, on average over a sample: its part of all work, synapse by target."""
    on = {p.name: p.name for p in program.populations}
    receiver = {j.name: on[j.target] for j in program.projections} | {x.name: x.name for x in program.products}
    work: dict[str, Range] = {}

    def add(owner: str, event: str, n: float) -> None:
        work[owner] = work.get(owner, ZERO) + _price(target.duration(event)).times(n)

    for name, n in events.synaptic_ops.items():
        add(receiver[name], f"synaptic-op.{_kind(program, name)}", n)
    for name, n in events.updates.items():
        add(name, "neuron-update", n)
    reads = _reads(program, events)
    for name, n in events.spikes.items():
        if name not in reads:  # the processor sends for these
            add(name, "spike", n)
    for name, n in ({n: m for n, m in _messages(placed, events).items() if n not in reads} | reads).items():
        add(name, "message", n)
    cores: dict[int, Range] = {}
    for piece in placed.slices:
        share = work.get(piece.owner, ZERO).times(piece.size / placed.sizes[piece.owner])
        cores[piece.core] = cores.get(piece.core, ZERO) + share
    busiest = max(cores.values(), key=lambda work: work.nominal, default=ZERO)
    return busiest.times(1 / program.chip_steps_per_sample)


def _latency(program: Program, placed: Placed, target: Target, events: _Events) -> Range | None:
    if not target.time:
        return None
    step = _price(target.duration("barrier")) + _step_work(program, placed, target, events)
    processor = _price(target.duration(EMBEDDED_EVENT)).times(sum(events.embedded.values()))
    return step.times(program.steps * program.period + program.latency) + processor


def _unpriced(
    program: Program,
    placed: Placed,
    target: Target,
    events: _Events,
    totals: Mapping[str, float],
    latency: Range | None,
) -> tuple[str, ...]:
    found = [f"{name}: {n:.6g} a sample, no price known" for name, n in totals.items() if n and not target.price(name)]
    for operation in placed.embedded_ops:
        n = events.embedded.get(operation.name, float(operation.operations))
        unit = "multiply-accumulates" if operation.multiply_accumulates else "operations"
        if target.price(EMBEDDED_EVENT) is None:
            found.append(f"embedded op '{operation.name}': {n:.6g} {unit} a sample, no price known")
    if placed.embedded_ops and latency is not None and target.duration(EMBEDDED_EVENT) is None:
        found.append("time of the embedded processor: none published, not in the latency")
    found.append("host: encoding, injecting and reading of messages")
    if target.placed:
        power = target.static_power
        if power is None or latency is None:
            found.append(f"static power of {_chips(placed.chips)}: none published")
        else:
            joules = latency.times(power.nominal * placed.chips)
            found.append(
                f"static power of {_chips(placed.chips)} at {power.nominal:g} W: {joules.low:.3g} to {joules.high:.3g} "
                f"J a sample, not dynamic and so not in the total ({power.source})"
            )
        found.append("barriers' energy: none published")
    return tuple(found)


def estimate(program: Program, placed: Placed, target: Target, counts: Counts) -> EnergyReport:
    """Price a run's counts.

    Raises UsageError ND430 where counts and program do not belong together.
    """
    events = _events(program, counts)
    totals = _totals(program, placed, target, events)
    priced = [(name, n, price) for name, n in totals.items() if (price := target.price(name)) is not None]
    terms = tuple(
        Term(name, n, _price(price).times(n), price.source, price.status, price.note) for name, n, price in priced
    )
    latency = _latency(program, placed, target, events)
    unpriced = _unpriced(program, placed, target, events, totals, latency)
    total = sum((term.energy for term in terms), ZERO) if target.energy else None
    label = (
        f"{LABEL}: dynamic energy of the chip, priced terms only" if total else f"{LABEL}: no prices for {target.name}"
    )
    return EnergyReport(target.name, label, terms, total, latency, unpriced)
