"""What can arrive at a population: intervals of synaptic input from intervals of messages, at a step and in all.

Intervals are float64: exact for whole numbers below 2^53, far beyond every declared width, and infinite where nothing
is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray
from ndeploy.ir.program import Population, Product, Program, Projection, lag
from ndeploy.neurons import Delta, SigmaDelta
from ndeploy.realise import index_sizes

Interval = tuple[FloatArray, FloatArray]
"""Least and greatest value, by neuron."""
SYNAPSES = 1 << 20
"""Synapses up to which sums of changes are bounded synapse by synapse; beyond, by each row's sums."""


@dataclass(eq=False)
class Sources:
    """A program's edges with what interval arithmetic asks again and again. sums: of positive and negative weights."""

    program: Program
    sums: Mapping[str, Interval]
    into: Mapping[str, tuple[Projection, ...]]
    products: Mapping[str, tuple[Product, ...]]
    messages: dict[str, tuple[float, float]]

    def updates(self, population: Population) -> int:
        """Updates a sample."""
        steps = self.program.steps
        return steps if population.updates is None else min(population.updates, steps)


def scaled(weight: FloatArray, value: float | FloatArray) -> FloatArray:
    """weight * value, nothing times infinity being nothing."""
    live = (weight != 0) & (np.asarray(value) != 0)
    return np.multiply(weight, value, out=np.zeros(live.shape), where=live)


def shifted(value: FloatArray, exponent: int) -> FloatArray:
    """`fixed.shift` of whole numbers."""
    return np.floor(np.ldexp(value, exponent))


def _parts(p: Projection) -> int:
    """Sums that are shifted, and so rounded down, apart."""
    return 1 if p.delays is None or p.exponent >= 0 else int(np.unique(p.delays).size)


def _current(sources: Sources, p: Projection, message: tuple[float, float], times: int = 1) -> Interval:
    """What a projection adds for messages in an interval; times: how often a sum in it has been rounded down."""
    positive, negative = sources.sums[p.name]
    least, greatest = min(0.0, message[0]), max(0.0, message[1])
    low = scaled(positive, least) + scaled(negative, greatest)
    high = scaled(positive, greatest) + scaled(negative, least)
    lost = times * _parts(p) - 1 if p.exponent < 0 else 0
    return shifted(low, p.exponent) - lost, shifted(high, p.exponent)


def _product(sources: Sources, q: Product) -> tuple[float, float]:
    """What a product adds to any of its target's neurons."""
    out = q.subscripts.split("->")[1]
    terms = float(np.prod([n for letter, n in index_sizes(q).items() if letter not in out], initial=1.0))
    low, high = corners(sources.messages[q.left], sources.messages[q.right])
    return float(shifted(np.asarray(terms * low), -q.exponent)), float(shifted(np.asarray(terms * high), -q.exponent))


def corners(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """Least and greatest product of two values, 0 among them."""
    corners = [0.0 if 0.0 in (a, b) else a * b for a in left for b in right]
    return min(0.0, *corners), max(0.0, *corners)


def entering(sources: Sources, p: Population, port: str = "in", *, first: bool = False) -> Interval:
    """What arrives at a port for one update; first: for the population's first one."""
    low, high = np.zeros(p.size), np.zeros(p.size)
    for x in sources.into[p.name]:
        if x.port != port or (first and lag(sources.program, x.source, x.target, x.delay) > 0):
            continue
        below, above = _current(sources, x, sources.messages[x.source])
        low, high = low + below, high + above
    for q in sources.products[p.name]:
        if q.port == port:
            least, greatest = _product(sources, q)
            low, high = low + least, high + greatest
    return low, high


def entered(sources: Sources, p: Population, visiting: frozenset[str]) -> Interval:
    """What has arrived at "in" in all updates so far together."""
    low, high = np.zeros(p.size), np.zeros(p.size)
    updates = sources.updates(p)
    for x in sources.into[p.name]:
        source = sources.program.population(x.source)
        times = min(updates, sources.updates(source))
        total = _total(sources, source, visiting)
        if total is None:
            below, above = _current(sources, x, sources.messages[x.source])
            below, above = scaled(below, times), scaled(above, times)
        else:
            below, above = _summed(sources, x, total, times)
        low, high = low + below, high + above
    for q in sources.products[p.name]:
        least, greatest = _product(sources, q)
        low, high = low + scaled(np.asarray(least), updates), high + scaled(np.asarray(greatest), updates)
    return low, high


def _summed(sources: Sources, p: Projection, total: Interval, times: int) -> Interval:
    """What a projection adds in all for sums of messages in intervals, by source neuron; times: how often it adds."""
    if p.synapses.count() > SYNAPSES or not all(np.isfinite(v).all() for v in total):
        return _current(sources, p, (float(total[0].min()), float(total[1].max())), times)
    target, source, index = p.synapses.to_coo()
    weight = p.synapses.weight.reshape(-1).astype(np.float64)[index]
    ends = weight * total[0][source], weight * total[1][source]
    low = np.bincount(target, weights=np.minimum(*ends), minlength=p.synapses.n_out).astype(np.float64)
    high = np.bincount(target, weights=np.maximum(*ends), minlength=p.synapses.n_out).astype(np.float64)
    lost = times * _parts(p) - 1 if p.exponent < 0 else 0
    return shifted(low, p.exponent) - lost, shifted(high, p.exponent)


def _total(sources: Sources, p: Population, visiting: frozenset[str]) -> Interval | None:
    """Bounds of the sum of all that a neuron has sent, where it sends the changes of a bounded value: what its
    receivers hold is always a value it had, or its start. None for other neurons, and where a loop comes back."""
    neuron = p.neuron
    if not isinstance(neuron, Delta | SigmaDelta) or p.name in visiting:
        return None
    low, high = followed(sources, p, neuron, visiting | {p.name})
    start = start_of(p)
    rounded = sources.updates(p) if neuron.state_exp else 0
    least, greatest = np.minimum(low, start) - start, np.maximum(high, start) - start
    return shifted(least, -neuron.state_exp) - rounded, shifted(greatest, -neuron.state_exp)


def start_of(p: Population) -> FloatArray:
    """Initial value of what the neuron holds or what its receivers do, by neuron."""
    return by_neuron(p, getattr(p.neuron, "start", 0))


def followed(sources: Sources, p: Population, neuron: Delta | SigmaDelta, visiting: frozenset[str]) -> Interval:
    """The value whose changes the neuron sends."""
    if isinstance(neuron, Delta):
        low, high = entering(sources, p)
        more = neuron.spike_exp + neuron.state_exp
        return shifted(low, more), shifted(high, more)
    low, high = with_bias(entered(sources, p, visiting), p, neuron.bias)
    return (np.maximum(low, 0), np.maximum(high, 0)) if neuron.relu else (low, high)


def with_bias(sums: Interval, p: Population, bias: npt.ArrayLike) -> Interval:
    """Sums with the neurons' bias."""
    own = by_neuron(p, bias)
    return sums[0] + own, sums[1] + own


def by_neuron(p: Population, value: npt.ArrayLike) -> FloatArray:
    """A parameter of a population, by neuron."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), p.shape).reshape(-1)
