"""How large the messages and sums of populations that depend on each other can grow, neuron by neuron.

Kinds that clip have the bound of their payload. Of the others (registers, relays, sigma, delta) the bound is carried
from model step to model step along the magnitudes of the weights, for as many steps as a sample has: a register that
shifts itself along holds no more than what entered it, which no bound by population would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Population
from ndeploy.neurons import Delta, Neuron, ProductNeuron, Register, Relay, Sigma, SigmaDelta
from ndeploy.sim.evaluators import guaranteed
from ndeploy.sim.products import Contraction
from ndeploy.sim.schedule import Link, ProductLink
from ndeploy.synapses import Dense, Synapses

Array = npt.NDArray[Any]
Key = tuple[str, str]
EXACT = 2.0**52
"""Bounds are kept in float64, which is exact below."""
FREE = (Register, Relay, Sigma, Delta, SigmaDelta, ProductNeuron)


class Magnitude:
    """The magnitudes of a link's weights, in the program's order."""

    def __init__(self, synapses: Synapses) -> None:
        if isinstance(synapses, Dense):
            self.matrix: Any = np.abs(synapses.weight.astype(np.float64))
            return
        from scipy.sparse import csr_array

        target, source, index = synapses.to_coo()
        weight = np.abs(synapses.weight.reshape(-1).astype(np.float64))[index]
        self.matrix = csr_array((weight, (target, source)), shape=(synapses.n_out, synapses.n_in))

    def reach(self, tops: Array, exponent: int) -> Array:
        """Bound on each sum for messages bounded by tops (n_in,), after the exponent."""
        total = self.matrix @ tops
        shifted: Array = total * 2.0**exponent if exponent >= 0 else np.floor(total * 2.0**exponent) + 1
        return shifted


@dataclass(frozen=True)
class Bounds:
    """tops: of each member's messages; inputs: of each port's summed input."""

    tops: dict[str, int]
    inputs: dict[Key, int]


def bounds(
    members: Sequence[Population],
    links: Mapping[Key, Sequence[Link]],
    products: Mapping[Key, Sequence[ProductLink]],
    contractions: Mapping[str, Contraction],
    magnitudes: Mapping[int, Magnitude],
    outside: Mapping[str, int],
    steps: int,
) -> Bounds | None:
    """Bounds of a component whose members are in order of evaluation; None if there are none below 2^52.

    outside: bound on the messages of every population that is not a member; magnitudes: by id of the link.
    """
    if any(guaranteed(p.neuron) is None and not isinstance(p.neuron, FREE) for p in members):
        return None
    sizes = {x.projection.source: x.synapses.n_in for own in links.values() for x in own}
    fixed: dict[str, Array] = {name: np.full(sizes.get(name, 1), float(top)) for name, top in outside.items()}
    for p in members:
        limits = guaranteed(p.neuron)
        if limits is not None:
            fixed[p.name] = np.full(p.size, float(max(limits[1], -limits[0])))
    free = [p for p in members if p.name not in fixed]
    history: list[dict[str, Array]] = []

    def at(name: str, t: int) -> Array | None:
        if name in fixed:
            return fixed[name]
        return history[t][name] if t >= 0 else None

    def arriving(key: Key, size: int, t: int) -> Array:
        total = np.zeros(size)
        for x in links.get(key, ()):
            tops = at(x.projection.source, t - x.lag)
            if tops is not None:
                total = total + magnitudes[id(x)].reach(tops, x.projection.exponent)
        for y in products.get(key, ()):
            left, right = at(y.product.left, t - y.lag), at(y.product.right, t - y.lag)
            if left is not None and right is not None:
                terms = contractions[y.product.name].terms
                total = total + float(left.max()) * float(right.max()) * terms / 2.0**y.product.exponent + 1
        return total

    state = {p.name: _first(p) for p in free}
    largest = {p.name: np.zeros(p.size) for p in free}
    arrived: dict[Key, float] = {}
    for t in range(steps if free else 0):
        history.append({})
        for p in free:
            inputs = {port: arriving((p.name, port), p.size, t) for port in p.neuron.ports}
            for port, total in inputs.items():
                arrived[p.name, port] = max(arrived.get((p.name, port), 0.0), float(total.max()))
            history[t][p.name] = _message(p.neuron, inputs, state[p.name])
            largest[p.name] = np.maximum(largest[p.name], history[t][p.name])
            if largest[p.name].max() >= EXACT:
                return None
    fixed |= largest
    for p in members:
        for port in p.neuron.ports:
            if (p.name, port) not in arrived:
                arrived[p.name, port] = float(arriving((p.name, port), p.size, 0).max())
    if max(arrived.values(), default=0.0) >= EXACT:
        return None
    tops = {p.name: int(fixed[p.name].max()) for p in members}
    return Bounds(tops, {key: int(top) + 1 for key, top in arrived.items()})


def _first(population: Population) -> dict[str, Array]:
    start = population.neuron.initial(population.shape)
    return {name: np.abs(value).reshape(-1).astype(np.float64) for name, value in start.items()}


def _message(neuron: Neuron, inputs: Mapping[str, Array], state: dict[str, Array]) -> Array:
    """Bound on the message of one update; the bounds of the state are brought forward in place."""
    if isinstance(neuron, ProductNeuron):
        product: Array = np.floor(inputs["in1"] * inputs["in2"] / 2.0**neuron.exponent) + 1
        return product
    x: Array = inputs["in"]
    if isinstance(neuron, Register):
        x = x + state["held"]
        state["held"] = np.zeros_like(x)
    if isinstance(neuron, Sigma | SigmaDelta):
        x = state["sigma"] = state["sigma"] + x
    if isinstance(neuron, Delta | SigmaDelta):
        if isinstance(neuron, Delta):
            x = x * 2.0 ** (neuron.spike_exp + neuron.state_exp)
        else:
            x = x + float(np.abs(np.asarray(neuron.bias)).max())
        d: Array = x + state["act"] + state["residue"]
        state["act"] = x
        state["residue"] = d if neuron.cum_error else np.minimum(d, np.abs(np.asarray(neuron.vth)).max())
        x = np.floor(d / 2.0**neuron.state_exp) + 1
    return x
