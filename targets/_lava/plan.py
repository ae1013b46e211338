"""Which Lava process stands for which part of a Program, and why.

A part becomes one of Lava's own processes only where that process equals docs/program.md on every step; everything
else becomes a process of ours (processes/), which runs in Lava beside them. numpy only: no Lava needed to list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ndeploy.targets._lava import parameters
from ndeploy.targets._lava.parameters import Arguments, NotNative
from ndeploy.targets._lava.schedule import projection_lag, updates_of, window_of

from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import (
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Input,
    ProductNeuron,
    Relay,
    Sigma,
    SigmaDelta,
    TernaryLif,
)

OWN = {"population": "ndeploy.Population", "projection": "ndeploy.Projection", "product": "ndeploy.Product"}
PARTITION = "ndeploy.Partition"


@dataclass(frozen=True)
class Assignment:
    """process: the Lava process class; reason: why it is not Lava's own, or how Lava's own is used.

    held: Lava's process model, but started at the population's own offset and cleared for each sample by us.
    """

    name: str
    process: str
    reason: str = ""
    held: bool = False
    arguments: Arguments = field(default_factory=dict, compare=False, repr=False)

    @property
    def native(self) -> bool:
        """Whether Lava's own process model computes it."""
        return not self.process.startswith("ndeploy.")


@dataclass(frozen=True)
class Plan:
    """Assignments by name, in the Program's order, and the chip steps between two samples."""

    populations: Mapping[str, Assignment]
    projections: Mapping[str, Assignment]
    products: Mapping[str, Assignment]
    window: int

    def __iter__(self) -> Any:
        yield from self.populations.values()
        yield from self.projections.values()
        yield from self.products.values()


def input_range(program: Program, population: Population, port: str) -> tuple[int, int] | None:
    """Bounds of the sum that can arrive on a port between two updates; None where they are not known."""
    if any(p.target == population.name and p.port == port for p in program.products):
        return None
    low = high = 0
    for projection in program.projections:
        if projection.target == population.name and projection.port == port:
            message = program.population(projection.source).neuron.message
            if projection.delays is not None and program.period > 1:
                return None
            down, up = parameters.output_range(projection, message)
            low, high = low + down, high + up
    return low, high


def _neuron(program: Program, population: Population) -> tuple[str, Arguments]:
    """Lava's process and its arguments. Raises NotNative."""
    neuron = population.neuron
    if isinstance(neuron, Input):
        return "RingBuffer", {}
    updates = updates_of(program, population)
    if updates < program.steps:
        raise NotNative(f"it stands still after {updates} of {program.steps} updates, Lava's processes do not")
    if any(value.any() for value in neuron.initial(population.shape).values()):
        raise NotNative("its state does not start at zero, Lava's does")
    if isinstance(neuron, CubaLif | CubaLi):
        return "LIF", parameters.lif(population)
    if isinstance(neuron, TernaryLif):
        return "TernaryLIF", parameters.ternary(population)
    if isinstance(neuron, Compare):
        return "LIF", parameters.compare(population, input_range(program, population, "in"))
    if isinstance(neuron, Relay):
        return "GradedVec", parameters.relay(population)
    if isinstance(neuron, ProductNeuron):
        in1, in2 = (input_range(program, population, port) for port in neuron.ports)
        return "ProdNeuron", parameters.product_neuron(population, in1, in2)
    if isinstance(neuron, Sigma):
        return "Sigma", parameters.sigma(population)
    if isinstance(neuron, Delta):
        return "Delta", parameters.delta(population)
    if isinstance(neuron, SigmaDelta):
        return "SigmaDelta", parameters.delta(population)
    raise NotNative(f"Lava has no '{neuron.kind}'")


def _hold(program: Program, population: Population, process: str) -> str:
    """Why Lava's process model must be started and cleared from outside; empty if it need not."""
    if process == "RingBuffer":
        return ""
    if program.period > 1:
        return "held between model steps"
    if process in ("TernaryLIF", "Sigma", "Delta", "SigmaDelta"):
        return "cleared for each sample: Lava has no reset variant"
    late = [p for p in program.projections if p.source == population.name and projection_lag(program, p)]
    if late:
        return f"held outside its window: its messages on '{late[0].name}' would reach the next model step or sample"
    return ""


def _population(program: Program, population: Population) -> Assignment:
    try:
        process, arguments = _neuron(program, population)
    except NotNative as why:
        return Assignment(population.name, OWN["population"], str(why))
    reason = _hold(program, population, process)
    if process == "LIF" and not reason:
        process = "LIFReset"
    return Assignment(population.name, process, reason, held=bool(reason), arguments=arguments)


def plan(program: Program) -> Plan:
    """The native mode's mapping."""
    projections = {}
    for projection in program.projections:
        try:
            neuron = program.population(projection.source).neuron
            message = neuron.message
            if isinstance(neuron, ProductNeuron | Relay) and message.bits == 1:
                # these pass a sum on, which one bit declares but does not enforce: Lava would cast it to bool
                message = replace(message, bits=2)
            process, arguments = parameters.connection(projection, message)
            projections[projection.name] = Assignment(projection.name, process, arguments=arguments)
        except NotNative as why:
            projections[projection.name] = Assignment(projection.name, OWN["projection"], str(why))
    return Plan(
        populations={p.name: _population(program, p) for p in program.populations},
        projections=projections,
        products={
            p.name: Assignment(p.name, OWN["product"], "Lava has no product of two messages") for p in program.products
        },
        window=window_of(program),
    )


def describe(program: Program, mode: str = "native") -> list[Assignment]:
    """The mapping, part by part: for `ndeploy verify` to print. mode: "native" or "fused"."""
    if mode == "fused":
        parts: tuple[Population | Projection | Product, ...]
        parts = (*program.populations, *program.projections, *program.products)
        return [
            Assignment(p.name, "RingBuffer")
            if isinstance(p, Population) and isinstance(p.neuron, Input)
            else Assignment(p.name, PARTITION, "fused")
            for p in parts
        ]
    return list(plan(program))
