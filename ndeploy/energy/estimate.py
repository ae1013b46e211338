"""Counts times prices: the energy report of a placed program."""

from __future__ import annotations

import math
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
from ndeploy.realise import realise
from ndeploy.target import CHIP_EVENTS, EMBEDDED_EVENT, STATIC, PriceTable, Target

REST, IDLE = "neuron-rest", "neuron-update.idle"
"""A neuron's chip step in which the program asks no update of it: populations wait for their first message, and between
model steps. SANA-FE charges access to every neuron at every chip step; whether Loihi 2's can be passed over is not
public. So: nothing at the low bound, an idle update at nominal and high."""
REST_NOTE = "chip steps without an update of the program: low: neurons are passed over; nominal, high: an idle update"
NOT_MODELLED = (
    "queues in the mesh, and the time the host takes to send and read: latency is a lower bound, and boards are often "
    "bound by input and output",
    "where the host and the embedded processors are: their packets enter the mesh at router (0, 0) of a chip, assumed",
    "temperature, voltage and frequency other than those of the prices' sources",
    "what embedded processors draw because they run, between operations too",
    "learning, and loading the program (its bytes are listed)",
    "the host's own processor and its board",
)
TERMS = tuple(name for event in CHIP_EVENTS for name in ((event, REST) if event == IDLE else (event,)))
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Priced:
    """The prices of one table for the events that happen."""

    table: PriceTable

    def each(self, event: str) -> Range | None:
        """One event's energy: zero where another price holds it, None where nobody has published one."""
        price = self.table.price(_as(event))
        if price is not None:
            return Range(0.0 if event == REST else price.low, price.nominal, price.high)
        return ZERO if self.covered(event) else None

    def covered(self, event: str) -> str:
        """What says that another price holds the event, "" where nothing does."""
        family = _as(event).partition(".")[0]
        return self.table.covered.get(_as(event)) or self.table.covered.get(family) or ""

    def term(self, event: str, group: str, count: float) -> Term:
        """An event with its count and energy."""
        price, each = self.table.price(_as(event)), self.each(event)
        energy = None if each is None else each.times(count)
        if price is None:
            held = self.covered(event)
            return Term(event, group, count, energy, each, source=held and f"held by {held}", covered=held)
        note = REST_NOTE if event == REST else price.note
        return Term(event, group, count, energy, each, price.scope, price.source, price.status, note)

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


def _as(event: str) -> str:
    """The event whose price is taken."""
    return IDLE if event == REST else event


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
    samples = ledger.samples
    chip = {event: ledger.events[event].sum() / samples for event in CHIP_EVENTS if event in ledger.events}
    chip_steps = program.chip_steps_per_sample
    chip["barrier"] = float(placed.cores * chip_steps)
    chip[EMBEDDED_EVENT] = sum(ledger.embedded.values()) / samples
    chip[REST] = ledger.rest.sum() / samples
    terms = [prices.term(event, "chip", float(chip[event])) for event in TERMS if chip.get(event)]
    host_terms = [
        prices.term("host-byte.in", "host", ledger.host_in / samples),
        prices.term("host-byte.out", "host", ledger.host_out / samples),
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
        label=_label(terms) if anything else f"counts only: no prices for {target.name}",
        samples=samples,
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
        layers=_layers(program, ledger, prices, activity),
        cores=_cores(ledger, placed, target, prices, times, chip_steps),
        steps=_steps(ledger, prices),
        links=ledger.routes.link_loads(samples),
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


def _label(terms: Sequence[Term]) -> str:
    """What the number is, and how many of the prices behind it anybody has published for this chip."""
    priced = [term for term in terms if term.status and term.count]
    what = "all of the chip's energy" if any(t.scope == "all-in" for t in priced) else "dynamic energy of the chip"
    unsure = sum(term.status == "unverified" for term in priced)
    told = f"; {unsure} of the {len(priced)} prices used are unverified" if unsure else ""
    return f"estimate from exact counts and cited prices: {what}{told}"


def _static(prices: _Priced, placed: Placed, times: Timing | None) -> Term | None:
    """Static power of the chips in use, for as long as a sample occupies them."""
    if prices.covered(STATIC) and placed.chips:
        held = prices.covered(STATIC)
        return Term("static", "static", float(placed.chips), ZERO, source=f"held by {held}", covered=held)
    power = prices.table.static_power
    if power is None or times is None or not placed.chips:
        return None
    span = times.interval
    joules = Range(power.low * span.low, power.nominal * span.nominal, power.high * span.high).times(placed.chips)
    each = Range(power.low, power.nominal, power.high)
    chips = f"{placed.chips} chip{'s' * (placed.chips > 1)}"
    note = f"{chips} for the {span.nominal:.3g} s (nominal) between two samples; {power.note}".rstrip("; ")
    return Term("static", "static", float(placed.chips), joules, each, power.scope, power.source, power.status, note)


def _by(ledger: Ledger, chosen: Sequence[int]) -> dict[str, float]:
    rows = list(chosen)
    found = {event: float(counts[rows].sum()) / ledger.samples for event, counts in ledger.events.items()}
    rest = float(ledger.rest[rows].sum()) / ledger.samples
    return found | ({REST: rest} if rest else {})


def _layers(program: Program, ledger: Ledger, prices: _Priced, activity: Activity) -> tuple[LayerCost, ...]:
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
        found.append(
            LayerCost(
                name,
                kinds[name],
                neurons,
                len({ledger.slices[i].core for i in rows} - {HOST}),
                counts,
                float(ledger.dense[rows].sum()) / ledger.samples,
                _rate(program, activity, name, counts.get("spike", 0.0)),
                prices.sum(counts) if prices.table.energy else None,
                tuple(_nominal(ledger, prices, rows)),
            )
        )
    return tuple(found)


def _rate(program: Program, activity: Activity, name: str, spikes: float) -> float:
    """Messages a neuron and update. Of a product: spikes of its neurons and buffers over what they could send."""
    population = next((p for p in program.populations if p.name == name), None)
    if population is not None:  # an embedded one's messages are no spikes of a core
        most = population.size * updates_of(program, population)
        return float(activity.messages[name].sum()) / (activity.samples * most) if most else 0.0
    product = next(x for x in program.products if x.name == name)
    if product.realisation == "embedded":
        return 0.0
    most = realise(product).multiplies * program.steps
    if product.realisation == "streamed":
        for operand, view in ((product.left, product.left_view), (product.right, product.right_view)):
            most += math.prod(view) * updates_of(program, program.population(operand))
    return spikes / most if most else 0.0


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
    """By model step; what has no step (barriers, resting neurons, the embedded processor) is in the totals only."""
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
        why = "no durations known" if placed.cores else "no cores to be at work"
        found.append(f"time: {why}, so no latency and no static energy")
    elif static is None and placed.chips:
        found.append(f"static power of {placed.chips} chip(s): none published")
    return tuple(found)


def _untimed(times: Timing | None) -> tuple[str, ...]:
    """What is in the energy and not in the latency."""
    if times is None or not times.missing:
        return ()
    return (f"no time known, and none in the latency, of: {', '.join(times.missing)}",)
