"""Every neuron's gain from its input to its membrane made positive, by folding what is not into the weights.

The integer neuron measures its state in units of gain * weight unit / 2^shift, which must be a positive number. A
neuron with a negative gain (w_in or r below zero) is one with a positive gain and negated synapses; a neuron with none
has no synapses that matter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import FloatArray, Lowered, RealConv, RealPopulation, RealProjection
from ndeploy.passes import compose


def fold_gains(lowered: Lowered) -> Lowered:
    """The same network where input_gain * gain > 0 for every neuron. Raises RefusedError ND203 for one fed by a
    product, which has no weights to fold into."""
    populations: list[RealPopulation] = []
    projections = {p.name: p for p in lowered.projections}
    for population in lowered.populations:
        model = population.model
        if isinstance(model, DiscreteNeuron):
            product = np.asarray(model.input_gain * model.gain, dtype=np.float64)
            if (product <= 0).any():
                population = _folded(lowered, population, model, product)
                for p in lowered.into(population.name):
                    projections[p.name] = _rows_times(p, np.broadcast_to(np.sign(product), population.shape))
            if not model.spiking and _differs_within_channels(product, population.shape):
                # a membrane is read in one unit: its weights differ by neuron, so no channel shares them
                for p in lowered.into(population.name):
                    own = projections[p.name]
                    if isinstance(own.synapses, RealConv):
                        unrolled = compose.from_matrix(compose.to_matrix(own.synapses))
                        projections[p.name] = replace(own, synapses=unrolled)
        populations.append(population)
    return replace(lowered, populations=tuple(populations), projections=tuple(projections.values()))


def _folded(lowered: Lowered, population: RealPopulation, model: DiscreteNeuron, product: FloatArray) -> RealPopulation:
    if any(q.target == population.name for q in lowered.products):
        raise RefusedError(
            "ND203",
            f"population '{population.name}' weighs its input by {float(product.min()):g} and a product ends on it",
            help="let the product have a neuron of its own",
        )
    magnitude = np.abs(product)
    # a neuron that its input never moves: any scale serves
    gain = np.where(magnitude > 0, magnitude, magnitude.max() or 1.0)
    bias = None if population.bias is None else np.broadcast_to(np.sign(product), population.shape) * population.bias
    if not model.has_current:
        return replace(population, model=replace(model, input_gain=np.ones(()), gain=gain), bias=bias)
    # keep the current's own scale where it has one: only products of the two gains matter to the membrane
    return replace(population, model=replace(model, input_gain=gain, gain=np.ones(())), bias=bias)


def _differs_within_channels(product: FloatArray, shape: tuple[int, ...]) -> bool:
    rows = np.broadcast_to(product, shape).reshape(shape[0], -1)
    return bool((rows != rows[:, :1]).any())


def _rows_times(p: RealProjection, sign: FloatArray) -> RealProjection:
    if p.integer is not None or (sign == 1).all():
        return p
    map_ = compose.scaled_rows(p.synapses, np.ascontiguousarray(sign, dtype=np.float64))
    uniform = p.unit and bool((sign == sign.flat[0]).all()) and bool(sign.flat[0] != 0)
    return replace(p, synapses=map_, unit=uniform)
