"""When, on the chip's clock, neurons are updated and their messages are sent.

A message is taken in during the chip step in which it is sent, whatever delay its synapses keep it for: the barrier
waits until no spike is on its way (Davies et al. 2018, as quoted by third parties; SANA-FE does the same).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ndeploy.ir.program import Product, Program
from ndeploy.place.units import sender
from ndeploy.realise import index_sizes


@dataclass(frozen=True)
class When:
    """start: chip step of model step 0, others are `period` chip steps apart; over: consecutive chip steps that what
    happens in a model step is spread over, evenly."""

    start: int
    over: int = 1


def operands_sent(program: Program, product: Product) -> int:
    """Chip step in which the later operand of a product is sent, for model step 0."""
    return max(program.population(product.left).offset, program.population(product.right).offset)


def clock(program: Program) -> Mapping[str, When]:
    """By unit and by sender of messages (`ndeploy.place.units`): units are updated and send at the same chip step.

    What the embedded processor sends leaves it a chip step after the population's update or the later operand.
    """
    found: dict[str, When] = {}
    for population in program.populations:
        found[population.name] = When(population.offset)
        if population.neuron.embedded:
            found[sender(population)] = When(population.offset + 1)
    for product in program.products:
        after = operands_sent(program, product) + 1
        if product.realisation == "embedded":
            found[f"{product.name}/embedded"] = When(after)
        elif product.realisation == "streamed":
            length = index_sizes(product)[product.stream]
            found[f"{product.name}/left"] = found[f"{product.name}/right"] = When(after, length)
            found[f"{product.name}/neurons"] = When(after + 1, length)
        else:
            found[f"{product.name}/neurons"] = When(after)
    return found
