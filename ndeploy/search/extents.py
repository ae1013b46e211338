"""How far every value of a program can reach, whatever its inputs send: interval arithmetic, a proof by induction.

Messages lie in some intervals; sums, currents, states and messages of the next update follow from them. Intervals that
contain what follows from them hold at every step (the values before the first update are in them as well). They are
found from the declared payloads: what a neuron clips stays inside its payload, what a neuron passes on unclipped
(relay, register, sigma, delta, product) is widened to what it may become, to infinity where that does not settle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import DECAY_ONE, STATE_MAX
from ndeploy.ir.lowered import FloatArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import (
    Affine,
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Gate,
    Input,
    LayerNorm,
    Neuron,
    ProductNeuron,
    Register,
    Relay,
    Sigma,
    SigmaDelta,
    Silu,
    Softmax,
    Synchrony,
    TernaryLif,
)
from ndeploy.neurons.layer_norm import ALIGNED_BITS
from ndeploy.search.arrivals import (
    Interval,
    Sources,
    by_neuron,
    corners,
    entered,
    entering,
    followed,
    scaled,
    shifted,
    start_of,
    with_bias,
)

WIDENINGS, NARROWINGS = 8, 3
"""Rounds in which unclipped messages grow before they count as unbounded; rounds that tighten what was found."""
_STATE = (-STATE_MAX, STATE_MAX)
_CURRENT = (-STATE_MAX, STATE_MAX + 1)
"""What a synaptic current takes without wrapping."""


@dataclass(frozen=True)
class Reach:
    """A value of a population: its name, least and greatest value it can take, and the width it must stay inside."""

    name: str
    low: float
    high: float
    least: int
    greatest: int

    @property
    def fits(self) -> bool:
        """Whether it cannot leave its width."""
        return self.least <= self.low and self.high <= self.greatest

    @property
    def bits(self) -> float:
        """Bits that hold it, in two's complement unless its width has no sign; infinite where nothing bounds it."""
        if self.least >= 0 <= self.low and np.isfinite(self.high):
            return max(1, int(self.high).bit_length())
        return signed_bits(self.low, self.high)

    @property
    def declared(self) -> int:
        """Bits of its width."""
        return self.greatest.bit_length() if self.least >= 0 else int(signed_bits(self.least, self.greatest))


@dataclass(frozen=True, eq=False)
class Extent:
    """values: sums, current, states; message: what is sent, after clipping; unclipped: before it."""

    values: tuple[Reach, ...]
    message: tuple[float, float]
    unclipped: tuple[float, float] = (0.0, 0.0)

    @property
    def faults(self) -> tuple[Reach, ...]:
        """Values that may leave their width."""
        return tuple(value for value in self.values if not value.fits)


def signed_bits(low: float, high: float) -> float:
    """Bits of two's complement that hold every whole number from low to high."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return float("inf")
    return 1 + max(int(max(high, 0)).bit_length(), (int(-min(low, 0)) - 1).bit_length() if low < 0 else 0)


def extents(program: Program) -> dict[str, Extent]:
    """Bounds of every population's sums (bias included), currents, states and messages over all inputs.

    Bounds, not estimates: no run exceeds them, whatever messages the host injects within its payloads.
    """
    sums = {}
    for p in program.projections:
        positive, negative = p.synapses.sums()
        sums[p.name] = positive.astype(np.float64), negative.astype(np.float64)
    names = [p.name for p in program.populations]
    sources = Sources(
        program,
        sums,
        {name: tuple(p for p in program.projections if p.target == name) for name in names},
        {name: tuple(q for q in program.products if q.target == name) for name in names},
        {p.name: (float(p.neuron.message.low), float(p.neuron.message.high)) for p in program.populations},
    )
    _settle(sources)
    found: dict[str, Extent] = {}
    for _ in range(NARROWINGS):
        # what follows from a sound bound is a sound bound
        found = {p.name: _extent(sources, p) for p in program.populations}
        sources.messages |= {name: extent.message for name, extent in found.items()}
    return found


def _settle(sources: Sources) -> None:
    """Widen the messages until they contain what follows from them."""
    populations = sources.program.populations
    for round_ in range(WIDENINGS + len(populations) + 1):
        stable = True
        for p in populations:
            low, high = _extent(sources, p).message
            known = sources.messages[p.name]
            if low < known[0] or high > known[1]:
                wide = (min(low, known[0]), max(high, known[1]))
                sources.messages[p.name] = wide if round_ < WIDENINGS else (-np.inf, np.inf)
                stable = False
        if stable:
            return


def _reach(name: str, value: Interval, width: tuple[int, int] = _STATE) -> Reach:
    return Reach(name, float(value[0].min()), float(value[1].max()), *width)


def _hull(value: Interval) -> tuple[float, float]:
    return float(value[0].min()), float(value[1].max())


def _rescaled(value: Interval, p: Population, multiplier: object, shift: object) -> Interval:
    """`fixed.rescale` of an interval: never decreasing, since multipliers are not negative."""
    factor, places = (np.broadcast_to(np.asarray(v), p.shape).reshape(-1) for v in (multiplier, shift))
    half = np.floor(np.ldexp(1.0, places - 1))
    low, high = (np.floor(np.ldexp(scaled(v, factor.astype(np.float64)) + half, -places)) for v in value)
    return low, high


def _series(added: FloatArray, factor: FloatArray, updates: int) -> FloatArray:
    """Magnitude of x <- x factor / 4096 (rounded towards zero) + added after so many updates from zero."""
    kept = np.broadcast_to(factor / DECAY_ONE, added.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(kept >= 1, float(updates), (1 - kept**updates) / (1 - kept))
    return np.floor(scaled(added, terms) * (1 + 1e-12))


def _leaking(added: Interval, factor: FloatArray, updates: int) -> Interval:
    """The same for intervals: a decay never changes a sign."""
    low, high = added
    return -_series(np.maximum(-low, 0), factor, updates), _series(np.maximum(high, 0), factor, updates)


def _membrane(sources: Sources, p: Population) -> Extent:
    """Leaky integrators: current u, membrane v before it is clipped or reset."""
    neuron = p.neuron
    assert isinstance(neuron, CubaLif | CubaLi | TernaryLif)
    updates = sources.updates(p)
    low, high = with_bias(entering(sources, p), p, getattr(neuron, "input_bias", 0))
    scale = 2.0**neuron.shift
    u = _leaking((low * scale, high * scale), DECAY_ONE - 1 - by_neuron(p, neuron.du), updates)
    bias, kept = by_neuron(p, neuron.bias), DECAY_ONE - by_neuron(p, neuron.dv)
    added = u[0] + bias, u[1] + bias
    v = _leaking(added, kept, updates)
    if isinstance(neuron, CubaLif):
        v = _reset(p, neuron, added, v)
    elif isinstance(neuron, TernaryLif):
        # beyond either threshold it starts again from 0
        top, bottom = (by_neuron(p, t) for t in (neuron.vth_high, neuron.vth_low))
        held = np.minimum(bottom, 0) + np.minimum(added[0], 0), np.maximum(top, 0) + np.maximum(added[1], 0)
        ordered = bottom <= top
        v = np.where(ordered, np.maximum(v[0], held[0]), v[0]), np.where(ordered, np.minimum(v[1], held[1]), v[1])
    values = (_reach("current", u, _CURRENT), _reach("membrane", v))
    if isinstance(neuron, CubaLi) and neuron.emit_bits:
        sent = shifted(v[0], -neuron.emit_shift), shifted(v[1], -neuron.emit_shift)
        return _clipped(neuron, values, _hull(sent))
    message = neuron.message
    return Extent(values, (float(message.low), float(message.high)), (float(message.low), float(message.high)))


def _reset(p: Population, neuron: CubaLif, added: Interval, free: Interval) -> Interval:
    """Bounds of the membrane with its resets; added: to the membrane; free: without resets.

    Above: what has not spiked is at most vth, what has is at most the value it is reset to; a reset that subtracts at
    least what can enter keeps up with it. Below: what is reset lies above vth first, and then leaks from there.
    """
    vth, amount, value = (by_neuron(p, v) for v in (neuron.vth, neuron.reset_amount, neuron.reset_value))
    lowest, high = np.minimum(value, 0), free[1] + np.maximum(value, 0)
    more = np.maximum(added[1], 0)
    held = np.maximum(np.maximum(vth, value), 0) + more
    if neuron.reset in ("zero", "zero-next"):
        high = np.minimum(high, held)
    elif neuron.reset in ("subtract", "subtract-next"):
        kept = DECAY_ONE - by_neuron(p, neuron.dv)
        after = vth + 1 if neuron.reset == "subtract" else np.floor(kept * (vth + 1) / DECAY_ONE)
        lowest = np.minimum(lowest, after - amount)
        high = np.where(amount >= more, np.minimum(high, held), np.where(amount < 0, np.inf, high))
    return free[0] + lowest, high


def _clipped(neuron: Neuron, values: tuple[Reach, ...], unclipped: tuple[float, float]) -> Extent:
    """Of a neuron that clips what it sends to its payload."""
    low, high = neuron.message.low, neuron.message.high
    sent = min(max(unclipped[0], low), high), max(min(unclipped[1], high), low)
    return Extent(values, (float(sent[0]), float(sent[1])), unclipped)


def _passed(p: Population, values: tuple[Reach, ...], sent: Interval) -> Extent:
    """Of a neuron that sends what it has, whatever its payload; 0 is what it sends when it stands still."""
    message = p.neuron.message
    low, high = _hull(sent)
    hull = min(0.0, low), max(0.0, high)
    return Extent((*values, Reach("message", low, high, message.low, message.high)), hull, hull)


def _input(sources: Sources, p: Population) -> Extent:
    payload = float(p.neuron.message.low), float(p.neuron.message.high)
    return Extent((), payload, payload)


def _affine(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, Affine)
    total = with_bias(entering(sources, p), p, neuron.bias)
    return _clipped(neuron, (_reach("sum", total),), _hull(_rescaled(total, p, neuron.multiplier, neuron.shift)))


def _gate(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, Gate | Silu)
    total = with_bias(entering(sources, p), p, neuron.bias)
    values: tuple[Reach, ...] = (_reach("sum", total),)
    if isinstance(neuron, Gate):
        values += (_reach("gate", with_bias(entering(sources, p, "gate"), p, neuron.gate_bias)),)
    # a sigmoid takes nothing away but magnitude
    wide = np.minimum(total[0], 0), np.maximum(total[1], 0)
    return _clipped(neuron, values, _hull(_rescaled(wide, p, neuron.multiplier, neuron.shift)))


def _layer_norm(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, LayerNorm)
    total = with_bias(entering(sources, p), p, neuron.bias)
    aligned = _rescaled(total, p, neuron.multiplier, neuron.shift)
    limit = (1 << ALIGNED_BITS) - 1
    return _clipped(neuron, (_reach("sum", total), _reach("aligned sum", aligned, (-limit, limit))), (-np.inf, np.inf))


def _softmax(sources: Sources, p: Population) -> Extent:
    return _clipped(p.neuron, (_reach("sum", entering(sources, p)),), (0.0, float(p.neuron.message.high)))


def _synchrony(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, Synchrony)
    left, right = (entering(sources, p, port) for port in neuron.ports)
    with np.errstate(invalid="ignore"):
        ends = [np.where((a == 0) | (b == 0), 0.0, a * b) for a in left for b in right]
    half = float((1 << neuron.exponent) >> 1)
    product = tuple(
        shifted(f.reduce([*ends, np.zeros(p.size)]) + half, -neuron.exponent) for f in (np.minimum, np.maximum)
    )
    factor, start = by_neuron(p, neuron.factor), start_of(p)
    alpha = _leaking((product[0], product[1]), factor, sources.updates(p))
    alpha = alpha[0] + np.minimum(start, 0), alpha[1] + np.maximum(start, 0)
    table = neuron.table.astype(np.float64)
    largest = np.maximum(-alpha[0], alpha[1])
    sent = np.ldexp(scaled(largest, np.abs(table).max(axis=0)), -by_neuron(p, neuron.shift).astype(np.int64)) + 1
    values = (_reach("left", left), _reach("right", right), _reach("accumulator", alpha))
    return _clipped(neuron, values, (-float(sent.max()), float(sent.max())))


def _register(sources: Sources, p: Population) -> Extent:
    always, first = entering(sources, p), entering(sources, p, first=True)
    start = start_of(p)
    sent = np.minimum(always[0], first[0] + start), np.maximum(always[1], first[1] + start)
    return _passed(p, (_reach("sum", always),), sent)


def _sigma(sources: Sources, p: Population) -> Extent:
    low, high = entered(sources, p, frozenset())
    held = low + start_of(p), high + start_of(p)
    return _passed(p, (_reach("sigma", held),), held)


def _delta(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, Delta | SigmaDelta)
    low, high = followed(sources, p, neuron, frozenset({p.name}))
    start = start_of(p)
    # the receivers hold a value that this one had, or its start
    change = low - np.maximum(high, start), high - np.minimum(low, start)
    vth = by_neuron(p, neuron.vth)
    rest = np.maximum(change[0], -2 * vth), np.minimum(change[1], 2 * vth)
    values: tuple[Reach, ...] = (_reach("act", (low, high)), _reach("residue", rest))
    if neuron.cum_error:
        values += (_reach("error", (-vth, vth)),)
    if isinstance(neuron, SigmaDelta):
        values += (_reach("sigma", entered(sources, p, frozenset({p.name}))),)
    return _passed(p, values, (shifted(change[0], -neuron.state_exp), shifted(change[1], -neuron.state_exp)))


def _relay(sources: Sources, p: Population) -> Extent:
    return _passed(p, (), entering(sources, p))


def _compare(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, Compare)
    return Extent((_reach("sum", with_bias(entering(sources, p), p, neuron.bias)),), (0.0, 1.0), (0.0, 1.0))


def _multiplied(sources: Sources, p: Population) -> Extent:
    neuron = p.neuron
    assert isinstance(neuron, ProductNeuron)
    left, right = (_hull(entering(sources, p, port)) for port in neuron.ports)
    low, high = (shifted(np.asarray([v]), -neuron.exponent) for v in corners(left, right))
    return _passed(p, (), (low, high))


_KINDS: Mapping[type[Neuron], Callable[[Sources, Population], Extent]] = {
    Input: _input,
    CubaLif: _membrane,
    CubaLi: _membrane,
    TernaryLif: _membrane,
    Affine: _affine,
    Gate: _gate,
    Silu: _gate,
    LayerNorm: _layer_norm,
    Softmax: _softmax,
    Synchrony: _synchrony,
    Register: _register,
    Sigma: _sigma,
    Delta: _delta,
    SigmaDelta: _delta,
    Relay: _relay,
    Compare: _compare,
    ProductNeuron: _multiplied,
}


def _extent(sources: Sources, p: Population) -> Extent:
    make = _KINDS.get(type(p.neuron))
    if make is None:  # a kind that somebody added: nothing is known but what it declares
        unknown = Reach("state", -np.inf, np.inf, *_STATE)
        payload = float(p.neuron.message.low), float(p.neuron.message.high)
        return Extent((unknown,), payload, payload)
    return make(sources, p)
