"""What can be counted in a program without running it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ndeploy.ir.program import Program
from ndeploy.place import embedded_operations
from ndeploy.realise import realise


@dataclass(frozen=True)
class Summary:
    """parameters: trained weights, shared ones once. weight_bits_mean: over parameters, 0 without any.
    weight_memory_bytes: the mantissas of all stored weights, the constant ones of pools, joins and skips included, but
    not the indices a chip stores beside them. synapses: shared weights
    at every place they are used; products' unit weights included, as in neurons their own. embedded_operations: of the
    embedded processor, a sample."""

    populations: int
    neurons: int
    projections: int
    products: int
    synapses: int
    parameters: int
    weight_bits_mean: float
    weight_memory_bytes: int
    chip_steps_per_sample: int
    embedded_operations: int = 0


def summarise(program: Program) -> Summary:
    """Count."""
    trained = [p for p in program.projections if not p.unit]
    parameters = sum(p.synapses.weight.size for p in trained)
    stored = sum(p.synapses.weight.size * p.weight_bits for p in program.projections)
    realised = {product.name: realise(product) for product in program.products}
    return Summary(
        populations=len(program.populations),
        neurons=sum(p.size for p in program.populations) + sum(r.neurons for r in realised.values()),
        projections=len(program.projections),
        products=len(program.products),
        synapses=sum(p.synapses.count() for p in program.projections) + sum(r.synapses for r in realised.values()),
        parameters=parameters,
        weight_bits_mean=sum(p.synapses.weight.size * p.weight_bits for p in trained) / parameters
        if parameters
        else 0.0,
        weight_memory_bytes=math.ceil(stored / 8),
        chip_steps_per_sample=program.chip_steps_per_sample,
        embedded_operations=sum(operation.operations for operation in embedded_operations(program)),
    )
