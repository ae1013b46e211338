"""How many bits every graded message gets, under a budget on their mean.

The loss of narrowing each population alone is measured at two widths and filled in by the law of the rounding error
(four times less for every bit); the exact allocation over these losses, and the widest uniform payload, are measured;
from the better one, rounds of neighbours (each population one width up, one down, then allocated again by what that
changed) repair what the sum of losses alone got wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ndeploy.budget import infeasible
from ndeploy.ir.lowered import (
    GRADED,
    DeltaCoded,
    Held,
    Lowered,
    RealPopulation,
    Registered,
    Softmaxed,
    Synchronised,
)
from ndeploy.ir.program import Program
from ndeploy.passes.codings import passes_on, signed
from ndeploy.passes.graded_choices import graded_input, message_bits
from ndeploy.passes.graded_units import SUM_BITS
from ndeploy.quantizer import InputCoding, Request
from ndeploy.search.allocation import Item, Option, allocate, monotone
from ndeploy.search.assignment import messages

WIDTHS = (4, 5, 6, 7, 8, 10, 12, 14, 16)
"""Payloads that are tried, where the default is no narrower."""
LEAST = 4
LEAST_COMPARED = 6
"""Least payload of what softmax and synchronisation read or send: shares, products of states, scores (facts: scores of
8 bits break parity where keys, values and gates of 8 bits are free)."""
PROBED = 8
"""The wider of the two widths at which each population is narrowed alone; the other is its least."""
ROUNDS = 2
LAW = 4.0
"""By how much a bit divides the power of a rounding error."""


def payload_options(request: Request) -> Mapping[str, tuple[int, ...]]:
    """Payloads worth trying, ascending, for every free graded population but readouts; the last is its default.

    The default is what `passes.graded_choices.message_bits` gives without wishes (operands of products as wide as their
    sum leaves room for), or what the user asked for. Empty for networks whose messages are spikes.
    """
    default = message_bits(replace(request, payload_of={}))
    readouts = {name for name, _ in request.lowered.outputs}
    compared = _compared(request.lowered)
    found = {}
    for name in messages(request.lowered):
        if name in readouts:
            continue
        least = LEAST_COMPARED if name in compared else LEAST
        found[name] = (*(bits for bits in WIDTHS if least <= bits < default[name]), default[name])
    return found


def _compared(lowered: Lowered) -> frozenset[str]:
    """Populations whose small differences matter: shares, synchronisations, what they become queries of, scores."""
    shares = {p.name for p in lowered.populations if isinstance(p.model, Softmaxed)}
    pairs = {p.name for p in lowered.populations if isinstance(p.model, Synchronised)}
    scored = {name for q in lowered.products if q.target in shares for name in (q.left, q.right)}
    moving = {name for name in scored if lowered.population(name).updates is None}
    return frozenset(shares | pairs | moving)


def message_widths(
    lowered: Lowered, payloads: Mapping[str, int], inputs: Mapping[str, InputCoding] | None = None
) -> dict[str, int]:
    """Bits of the messages of every graded population that follow from `payloads` (by free population).

    Registers and held values have the widest of what they pass on, changes one bit more, weighted sums of changes
    `graded_units.SUM_BITS`. What passes on the host's messages is there if `inputs` has their coding.
    """
    coded = inputs or {}
    host = {name: coding.bits + (not coding.signed) for name, coding in coded.items()}
    width = dict(payloads)
    waiting = [p for p in lowered.populations if isinstance(p.model, GRADED) and p.name not in width]
    while waiting:
        known = {p.name: bits for p in waiting if (bits := _passed(lowered, p, width, host)) is not None}
        if not known:
            break
        width |= known
        waiting = [p for p in waiting if p.name not in known]
    return width


def _passed(lowered: Lowered, p: RealPopulation, width: Mapping[str, int], host: Mapping[str, int]) -> int | None:
    """Bits of what a population passes on; None where they are not known."""
    if isinstance(p.model, Held) and not passes_on(lowered, p):
        return SUM_BITS
    if not isinstance(p.model, Registered | DeltaCoded | Held):
        return None
    sources = [x.source for x in lowered.into(p.name) if x.unit and x.source != p.name]
    if not sources or not all(s in width or s in host for s in sources):
        return None
    sent = [host[s] if s in host else width[s] + (not signed(lowered.population(s))) for s in sources]
    return min(24, max(sent) + int(isinstance(p.model, DeltaCoded)))


def mean_payload(
    chosen: Program | Mapping[str, int], lowered: Lowered, inputs: Mapping[str, InputCoding] | None = None
) -> float:
    """Mean bits of graded messages over the neurons that send them, host inputs aside; 1 where all are spikes.

    chosen: a program, or payloads of all free populations; inputs: as `message_widths`. Equal to `cost.mean_payload` of
    the program.
    """
    if isinstance(chosen, Program):
        sent = {p.name: p.neuron.message.bits for p in chosen.populations}
        names = {p.name for p in lowered.populations if isinstance(p.model, GRADED)}
        width = {name: bits for name, bits in sent.items() if name in names and bits > 1}
    else:
        width = message_widths(lowered, chosen, inputs)
    sizes = {name: math.prod(lowered.population(name).shape) for name in width}
    return sum(sizes[n] * width[n] for n in width) / sum(sizes.values()) if width else 1.0


@dataclass(eq=False)
class _Measured:
    """Losses of payloads that have been measured, each once."""

    measure: Callable[[Mapping[str, int]], float]
    known: dict[tuple[tuple[str, int], ...], float] = field(default_factory=dict)

    def __call__(self, payloads: Mapping[str, int]) -> float:
        key = tuple(sorted(payloads.items()))
        if key not in self.known:
            self.known[key] = self.measure(payloads)
        return self.known[key]


@dataclass(frozen=True, eq=False)
class _Purse:
    """What payloads cost, the mean of all messages, and what they may. fixed: payloads that are not chosen."""

    lowered: Lowered
    inputs: Mapping[str, InputCoding]
    fixed: Mapping[str, int]
    budget: float

    def mean(self, payloads: Mapping[str, int]) -> float:
        return mean_payload({**self.fixed, **payloads}, self.lowered, self.inputs)

    def fits(self, payloads: Mapping[str, int]) -> bool:
        return self.mean(payloads) <= self.budget * (1 + 1e-12)


def choose_payloads(
    request: Request, measure: Callable[[Mapping[str, int]], float], budget: float, progress: Callable[[str], None]
) -> Mapping[str, int]:
    """Payloads of least measured loss whose mean over graded messages (`mean_payload`) is at most `budget` bits.

    measure: the loss with these payloads, of all populations in `payload_options`; it is asked once for each, at most
    3 + 2 P + ROUNDS (2 P + 1) times for P populations. The defaults are returned unmeasured where they keep to the
    budget. Networks whose messages are spikes have 1 bit already: nothing is chosen, and `progress` says so. Raises
    RefusedError ND306 with the nearest budget that can be met.
    """
    options = payload_options(request)
    default = {name: widths[-1] for name, widths in options.items()}
    if not options:
        if budget < 1:
            raise infeasible("spike budget", budget, 1.0, "bits", "a message has a bit at least")
        progress("payloads: every message is a spike of 1 bit, the budget of spike bits changes nothing")
        return {}
    fixed = {n: b for n, b in message_bits(replace(request, payload_of={})).items() if n not in options}
    inputs = {name: graded_input(request, name) for name in request.lowered.inputs}
    purse = _Purse(request.lowered, inputs, fixed, budget)
    if purse.fits(default):
        progress(f"payloads: {purse.mean(default):.2f} bits a message as it is, within {budget:g}")
        return default
    least = {name: widths[0] for name, widths in options.items()}
    if not purse.fits(least):
        help_ = "raise --spike-bits; readouts and what follows from other messages keep their width"
        raise infeasible("spike budget", budget, purse.mean(least), "bits", help_)
    loss = _Measured(measure)
    best = _first(purse, options, loss, progress)
    for round_ in range(ROUNDS):
        progress(f"payloads, round {round_ + 1}: {purse.mean(best):.2f} bits a message, loss {loss(best):.4g}")
        found = _round(purse, options, loss, best)
        if found == best:
            break
        best = found
    return best


def _first(
    purse: _Purse, options: Mapping[str, tuple[int, ...]], loss: _Measured, progress: Callable[[str], None]
) -> dict[str, int]:
    """The better of the allocation by losses alone and the widest uniform payload."""
    default = {name: widths[-1] for name, widths in options.items()}
    base = loss(default)
    losses = {}
    for i, (name, widths) in enumerate(options.items()):
        progress(f"payloads: '{name}' alone, {i + 1} of {len(options)}")
        probed = dict.fromkeys((widths[0], max((b for b in widths if b <= PROBED), default=widths[0])))
        alone = {bits: max(loss({**default, name: bits}) - base, 0.0) for bits in probed if bits != widths[-1]}
        losses[name] = _filled(widths, alone)
    chosen = _allocated(purse, default, losses)
    uniform = max(
        ({name: _nearest(widths, bits) for name, widths in options.items()} for bits in WIDTHS),
        key=lambda payloads: (purse.fits(payloads), purse.mean(payloads) if purse.fits(payloads) else 0.0),
    )
    candidates = [x for x in (chosen, uniform) if purse.fits(x)]
    return min(candidates, key=lambda x: (loss(x), purse.mean(x), sorted(x.items())))


def _nearest(widths: tuple[int, ...], bits: int) -> int:
    """The width for a uniform payload of so many bits: as wide, or the nearest there is."""
    return min(widths, key=lambda b: (abs(b - bits), b))


def _filled(widths: tuple[int, ...], alone: Mapping[int, float]) -> dict[int, float]:
    """Losses at every width, from those at a few: between two of them on a straight line of logarithms, beyond the
    widest by `LAW`; none at the default."""
    found = {widths[-1]: 0.0}
    known = sorted(alone)
    for bits in widths[:-1]:
        below = max((b for b in known if b <= bits), default=None)
        above = min((b for b in known if b >= bits), default=None)
        if below is None or above is None:
            nearest = below if below is not None else above
            found[bits] = alone[nearest] * LAW ** (nearest - bits) if nearest is not None else 0.0
        elif below == above or min(alone[below], alone[above]) <= 0:
            found[bits] = max(alone[below], alone[above]) if below != above else alone[bits]
        else:
            share = (bits - below) / (above - below)
            found[bits] = alone[below] ** (1 - share) * alone[above] ** share
    return monotone(found)


def _allocated(purse: _Purse, start: Mapping[str, int], losses: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
    """The payloads of least total loss within the budget.

    What a width costs is the change of the mean from `start`, that of what passes it on included. Where several sources
    share a follower the parts do not add up: the limit is then lowered by what is too much.
    """
    names = list(losses)
    means = {n: {b: purse.mean({**start, n: b}) for b in losses[n]} for n in names}
    lowest = {n: min(means[n].values()) for n in names}
    cheapest = {n: min(losses[n]) for n in names}
    room = purse.budget - purse.mean(cheapest)
    items = [Item(n, {b: Option(losses[n][b], (means[n][b] - lowest[n],)) for b in sorted(losses[n])}) for n in names]
    while room >= 0:
        chosen = allocate(items, (room,), ("spike budget",))
        if purse.fits(chosen):
            return chosen
        room -= max(purse.mean(chosen) - purse.budget, 1e-9 * purse.budget)
    return cheapest


def _round(
    purse: _Purse, options: Mapping[str, tuple[int, ...]], loss: _Measured, best: dict[str, int]
) -> dict[str, int]:
    """What is better than `best` among its neighbours and their combination, or itself."""
    least = loss(best)
    losses: dict[str, dict[int, float]] = {}
    singles = []
    for name, widths in options.items():
        at = widths.index(best[name])
        losses[name] = {best[name]: 0.0}
        for bits in widths[max(0, at - 1) : at] + widths[at + 1 : at + 2]:
            changed = {**best, name: bits}
            losses[name][bits] = loss(changed) - least
            singles.append(changed)
    candidates = [best, *(x for x in singles if purse.fits(x))]
    joint = _allocated(purse, best, losses)
    if purse.fits(joint):
        candidates.append(joint)
    return min(candidates, key=lambda x: (loss(x), purse.mean(x), sorted(x.items())))
