"""Counts times prices: the energy report of a placed program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.check_graded import updates_of
from ndeploy.energy.latency import Timing, timing
from ndeploy.energy.ledger import Ledger, tally
from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import Baseline, CoreCost, EnergyReport, LayerCost, StepCost, Term
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place import Placed
from ndeploy.place.flows import HOST
from ndeploy.place.mesh import board_of, positions
from ndeploy.target import CHIP_EVENTS, EMBEDDED_EVENT, STATIC, PriceTable, Target

ESTIMATE = "estimate from exact counts and cited prices: dynamic energy of the chip"
NOT_MODELLED = (
    "queues in the mesh, and the time the host takes to send and read: latency is a lower bound, and boards are often "
    "bound by input and output",
    "where the host and the embedded processors are: their packets enter the mesh at router (0, 0) of a chip, assumed",
    "temperature, voltage and frequency other than those of the prices' sources",
    "learning, and loading the program (its bytes are listed)",
    "the host's own processor and its board",
)
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Priced:
    """The prices of one table for the events that happen."""

    table: PriceTable

    def each(self, event: str) -> Range | None:
        """One event's energy: zero where another price holds it, None where nobody has published one."""
        price = self.table.price(event)
        if price is not None:
            return Range(price.low, price.nominal, price.high)
        return ZERO if self.covered(event) else None

    def covered(self, event: str) -> str:
        """What says that another price holds the event, "" where nothing does."""
        family = event.partition(".")[0]
        return self.table.covered.get(event) or self.table.covered.get(family) or ""

    def term(self, event: str, group: str, count: float) -> Term:
        """An event with its count and energy."""
        price, each = self.table.price(event), self.each(event)
        energy = None if each is None else each.times(count)
        if price is None:
            held = self.covered(event)
            return Term(event, group, count, energy, each, source=held and f"held by {held}", covered=held)
        return Term(event, group, count, energy, each, price.scope, price.source, price.status, price.note)

    def sum(self, counts: Mapping[str, float]) -> Range | None:
        """Energy of counts, None where one of them has no price."""
        total = ZERO
        for event, count in counts.items():
            each = self.each(event)
            if each is None:
                if count:
                    return None
                continue
            total = total + each.times(count)
        return total


def estimate(
    program: Program,
    placed: Placed,
    target: Target,
    activity: Activity,
    table: PriceTable | None = None,
    *,
    allow_unpriced: bool = False,
    baselines: Sequence[Baseline] = (),
    neurobench: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    accuracy: float | None = None,
) -> EnergyReport:
    """Price a run. table: the target's own prices by default.

    `energy` is None where an event that happened has no price; `bound`, the sum of what has one, is there only if
    `allow_unpriced`.
    """
    prices = _Priced(table or target.table)
    ledger = tally(program, placed, target, activity)
    times = timing(program, ledger, prices.table)
    mean = 1.0 / ledger.samples
    chip = {event: float(ledger.events[event].sum()) * mean for event in CHIP_EVENTS if event in ledger.events}
    chip_steps = program.chip_steps_per_sample
    chip["barrier"] = float(placed.cores * chip_steps)
    chip[EMBEDDED_EVENT] = sum(ledger.embedded.values()) * mean
    terms = [prices.term(event, "chip", chip[event]) for event in CHIP_EVENTS if chip.get(event)]
    host_terms = [
        prices.term("host-byte.in", "host", ledger.host_in * mean),
        prices.term("host-byte.out", "host", ledger.host_out * mean),
    ]
    load = prices.term("configuration-byte", "load", float(ledger.configuration))
    anything = bool(prices.table.energy)
    energy = _sum(terms) if anything else None
    bound = _sum([t for t in terms if t.energy is not None]) if allow_unpriced and anything else None
    static = _static(prices, placed, times)
    all_terms = (*terms, *([static] if static else []), *host_terms, load)
    return EnergyReport(
        target=target.name,
        program=program.name,
        model=prices.table.name,
        model_title=prices.table.title,
        label=ESTIMATE if anything else f"counts only: no prices for {target.name}",
        samples=ledger.samples,
        mode=program.mode,
        model_steps=program.steps,
        chip_steps=chip_steps,
        terms=all_terms,
        energy=energy,
        bound=bound,
        static=static.energy if static else None,
        host=_sum(host_terms),
        latency=times.latency if times else None,
        interval=times.interval if times else None,
        layers=_layers(program, ledger, prices, placed),
        cores=_cores(ledger, placed, target, prices, times, chip_steps),
        steps=_steps(ledger, prices),
        links=ledger.routes.link_loads(ledger.samples),
        unpriced=_unpriced(all_terms, static, placed, times, ledger),
        not_modelled=(*NOT_MODELLED, *_untimed(times), *prices.table.notes),
        baselines=tuple(baselines),
        neurobench=dict(neurobench or {}),
        placement=placed.summary() | ({} if (board := board_of(target)) is None else {"mesh": asdict(board)}),
        provenance=dict(provenance or {}),
        accuracy=accuracy,
    )


def _sum(terms: Sequence[Term]) -> Range | None:
    total = ZERO
    for term in terms:
        if term.energy is None:
            return None
        total = total + term.energy
    return total


def _static(prices: _Priced, placed: Placed, times: Timing | None) -> Term | None:
    """Static power of the chips in use, for as long as a sample occupies them."""
    if prices.covered(STATIC) and placed.chips:
        return Term("static", "static", float(placed.chips), ZERO, covered=prices.covered(STATIC))
    power = prices.table.static_power
    if power is None or times is None or not placed.chips:
        return None
    span = times.interval
    joules = Range(power.low * span.low, power.nominal * span.nominal, power.high * span.high).times(placed.chips)
    each = Range(power.low, power.nominal, power.high)
    note = f"{placed.chips} chip(s) for the interval between samples; {power.note}".rstrip("; ")
    return Term("static", "static", float(placed.chips), joules, each, power.scope, power.source, power.status, note)


def _by(ledger: Ledger, chosen: Sequence[int]) -> dict[str, float]:
    rows = list(chosen)
    return {event: float(counts[rows].sum()) / ledger.samples for event, counts in ledger.events.items()}


def _layers(program: Program, ledger: Ledger, prices: _Priced, placed: Placed) -> tuple[LayerCost, ...]:
    held: dict[str, list[int]] = {}
    for number, piece in enumerate(ledger.slices):
        held.setdefault(piece.owner, []).append(number)
    kinds = {p.name: p.neuron.kind for p in program.populations} | {
        x.name: f"{x.realisation} product" for x in program.products
    }
    named = [p.name for p in program.populations if not isinstance(p.neuron, Input)]
    found = []
    for name in (*named, *(x.name for x in program.products)):
        rows = held.get(name, [])
        counts = _by(ledger, rows)
        if ledger.embedded.get(name):
            counts[EMBEDDED_EVENT] = ledger.embedded[name] / ledger.samples
        neurons = sum(ledger.slices[i].size for i in rows)
        updates = _made(program, name)
        sent = counts.get("spike", 0.0)
        found.append(
            LayerCost(
                name,
                kinds[name],
                neurons,
                len({ledger.slices[i].core for i in rows} - {HOST}),
                counts,
                float(ledger.dense[rows].sum()) / ledger.samples,
                sent / (neurons * updates) if neurons and updates else 0.0,
                prices.sum(counts) if prices.table.energy else None,
                tuple(_nominal(ledger, prices, rows)),
            )
        )
    return tuple(found)


def _made(program: Program, name: str) -> int:
    """Updates of a population's neuron in a sample; a product's neurons send once a model step at most."""
    population = next((p for p in program.populations if p.name == name), None)
    return program.steps if population is None else updates_of(program, population)


def _nominal(ledger: Ledger, prices: _Priced, rows: list[int]) -> list[float]:
    """Nominal joules by model step of what has a price."""
    total = np.zeros(next(iter(ledger.events.values())).shape[1])
    for event, counts in ledger.events.items():
        each = prices.each(event)
        if each is not None and each.nominal:
            total += counts[rows].sum(axis=0) * (each.nominal / ledger.samples)
    return [float(joules) for joules in total]


def _cores(
    ledger: Ledger, placed: Placed, target: Target, prices: _Priced, times: Timing | None, chip_steps: int
) -> tuple[CoreCost, ...]:
    held: dict[int, list[int]] = {}
    for number, piece in enumerate(ledger.slices):
        if piece.core != HOST:
            held.setdefault(piece.core, []).append(number)
    use = {core.core: core for core in placed.use}
    found = []
    board = board_of(target)
    for core in sorted(held):
        counts = _by(ledger, held[core]) | {"barrier": float(chip_steps)}
        chip, x, y = -1, -1, -1
        if board is not None:
            at = positions(board, np.array(core))
            chip, x, y = int(at.chip), int(at.x), int(at.y)
        memory, neurons = target.core.synaptic_memory.value, target.core.neurons.value
        found.append(
            CoreCost(
                core,
                chip,
                x,
                y,
                tuple(dict.fromkeys(ledger.slices[i].owner for i in held[core])),
                use[core].neurons,
                use[core].memory_bytes,
                use[core].memory_bytes / memory if memory else None,
                use[core].neurons / neurons if neurons else None,
                counts,
                prices.sum(counts) if prices.table.energy else None,
                times.busy.get(core) if times else None,
            )
        )
    return tuple(found)


def _steps(ledger: Ledger, prices: _Priced) -> tuple[StepCost, ...]:
    """By model step; what has no step (barriers, the embedded processor) is in the totals only."""
    totals = {event: counts.sum(axis=0) / ledger.samples for event, counts in ledger.events.items()}
    length = len(next(iter(totals.values()), ()))
    found = []
    for step in range(length):
        counts = {event: float(values[step]) for event, values in totals.items()}
        found.append(StepCost(step, counts, prices.sum(counts) if prices.table.energy else None))
    return tuple(found)


def _unpriced(
    terms: Sequence[Term], static: Term | None, placed: Placed, times: Timing | None, ledger: Ledger
) -> tuple[str, ...]:
    named = {name: n / ledger.samples for name, n in sorted(ledger.embedded.items())}
    which = {EMBEDDED_EVENT: f" ({', '.join(f'{name!r} {n:.6g}' for name, n in named.items())})"}
    found = [
        f"{term.name}: {term.count:.6g} {'once' if term.group == 'load' else 'a sample'}{which.get(term.name, '')}, "
        "no price known"
        for term in terms
        if term.energy is None and term.count
    ]
    if times is None:
        found.append("time: no durations known, so no latency and no static energy")
    elif static is None and placed.chips:
        found.append(f"static power of {placed.chips} chip(s): none published")
    return tuple(found)


def _untimed(times: Timing | None) -> tuple[str, ...]:
    """What is in the energy and not in the latency."""
    if times is None or not times.missing:
        return ()
    return (f"no time known, and none in the latency, of: {', '.join(times.missing)}",)
