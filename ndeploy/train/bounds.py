"""How large messages and sums can grow with any weights that training may reach: where float32 is exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndeploy.ir.program import Population, Product
from ndeploy.neurons import Input, ProductNeuron, Register, Relay
from ndeploy.realise import index_sizes
from ndeploy.sim.evaluators import guaranteed


def message_top(population: Population, bounds: Mapping[str, int]) -> int | None:
    """Largest magnitude of a population's messages; bounds: of its ports, those that have one."""
    neuron = population.neuron
    if isinstance(neuron, Input):
        return max(neuron.message.high, -neuron.message.low)
    limits = guaranteed(neuron)
    if limits is not None:
        return max(limits[1], -limits[0])
    if isinstance(neuron, Relay):
        return bounds.get("in")
    if isinstance(neuron, Register) and "in" in bounds:
        return bounds["in"] + int(np.abs(np.asarray(neuron.start)).max())
    if isinstance(neuron, ProductNeuron) and {"in1", "in2"} <= bounds.keys():
        return (bounds["in1"] * bounds["in2"] >> neuron.exponent) + 1
    return None


def product_bounds(product: Product, left: int | None, right: int | None) -> tuple[int | None, int | None]:
    """(largest sum before the exponent, after it) for operands of those magnitudes."""
    if left is None or right is None:
        return None, None
    result = product.subscripts.replace(" ", "").split("->")[1]
    terms = int(np.prod([size for letter, size in index_sizes(product).items() if letter not in result]))
    sums = terms * left * right
    return sums, (sums >> product.exponent) + 1
