"""Budgets as limits on sums over layers: what every width of every layer takes of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ndeploy.budget import infeasible
from ndeploy.ir.lowered import Lowered
from ndeploy.ir.program import Program
from ndeploy.quantizer import Request
from ndeploy.search.allocation import Item, Option
from ndeploy.search.assignment import LEAST_BITS, MOST_BITS, Layer, layers
from ndeploy.search.cost import fixed_operations, memory, operations_options, packed_memory, widths

ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """costs: by layer and width; most: what the sum may reach; fixed: what is taken whatever the widths (in the same
    unit, not in costs); quantity: unit of the budget; factor: costs to one of it."""

    name: str
    costs: Mapping[str, Mapping[int, float]]
    most: float
    fixed: float
    quantity: str
    factor: float

    def taken(self, weights: Mapping[str, int]) -> float:
        """The sum over layers."""
        return math.fsum(self.costs[name][bits] for name, bits in weights.items())


@dataclass(frozen=True)
class Problem:
    """layers and the widths each may have; limits: those of the budget; size: bits of packed memory by layer and width,
    what a search under an accuracy budget makes small."""

    layers: tuple[Layer, ...]
    options: Mapping[str, tuple[int, ...]]
    limits: tuple[Limit, ...]
    size: Limit

    def within(self, weights: Mapping[str, int]) -> bool:
        """Whether the widths keep to every limit."""
        return all(limit.taken(weights) <= limit.most + ROUNDING * abs(limit.most) for limit in self.limits)

    def items(self, losses: Mapping[str, Mapping[int, float]], limits: Sequence[Limit]) -> list[Item]:
        """What an allocation is asked: the options with a known loss."""
        return [
            Item(
                layer.name,
                {
                    bits: Option(losses[layer.name][bits], tuple(limit.costs[layer.name][bits] for limit in limits))
                    for bits in self.options[layer.name]
                    if bits in losses[layer.name]
                },
            )
            for layer in self.layers
        ]

    def require_feasible(self) -> None:
        """Raises RefusedError ND306 for the first limit that the narrowest widths exceed."""
        for limit in self.limits:
            least = math.fsum(min(limit.costs[x.name][b] for b in self.options[x.name]) for x in self.layers)
            if least > limit.most + ROUNDING * abs(limit.most):
                raise infeasible(
                    limit.name,
                    (limit.most + limit.fixed) / limit.factor,
                    (least + limit.fixed) / limit.factor,
                    limit.quantity,
                    f"with weights of {LEAST_BITS} bits everywhere it takes that; a smaller network takes less"
                    + (f" (all but {least / (least + limit.fixed):.0%} is constant synapses)" if limit.fixed else ""),
                )


def problem(request: Request, program: Program) -> Problem:
    """The limits of the request's budget. program: one of the same network, at any widths.

    Without a budget of bits, memory, operations or accuracy, the mean is `request.bits`.
    """
    found = layers(request.lowered)
    names = {layer.name for layer in found}
    packed = memory(program, request.target)
    possible = [b for b in widths(request.target) if LEAST_BITS <= b <= MOST_BITS]
    options = {name: tuple(b for b in possible if b in packed.options[name]) for name in names}
    budget = request.budget
    constant = packed.fixed + sum(
        own[next(p.weight_bits for p in program.projections if p.name == name)]
        for name, own in packed.options.items()
        if name not in names
    )
    size = Limit("memory budget", {n: packed.options[n] for n in names}, math.inf, constant, "bytes", 8.0)
    limits: list[Limit] = []
    mean = budget.mean_bits
    if mean is None and budget.memory_bytes is None and budget.operations is None and budget.accuracy_points is None:
        mean = float(request.bits)
    if mean is not None:
        limits.append(_mean_bits(request.lowered, found, options, mean))
    if budget.memory_bytes is not None:
        limits.append(Limit(size.name, size.costs, 8.0 * budget.memory_bytes - constant, constant, "bytes", 8.0))
    if budget.operations is not None:
        costs = operations_options(program, request.target)
        fixed = float(fixed_operations(program)) + sum(
            own[next(p.weight_bits for p in program.projections if p.name == name)]
            for name, own in costs.items()
            if name not in names
        )
        limits.append(
            Limit(
                "operations budget", {n: costs[n] for n in names}, budget.operations - fixed, fixed, "operations", 1.0
            )
        )
    return Problem(found, options, tuple(limits), size)


def _mean_bits(
    lowered: Lowered, found: tuple[Layer, ...], options: Mapping[str, tuple[int, ...]], mean: float
) -> Limit:
    given = [(p.synapses.weight.size, p.integer.bits) for p in lowered.projections if p.integer is not None]
    fixed = float(sum(n * bits for n, bits in given))
    total = sum(layer.parameters for layer in found) + sum(n for n, _ in given)
    costs = {x.name: {b: float(x.parameters * b) for b in options[x.name]} for x in found}
    return Limit("bit budget", costs, mean * total - fixed, fixed, "bits", float(total))


def packed_bytes(request: Request, program: Program) -> int:
    """Bytes of synaptic memory of a program, as placed."""
    return packed_memory(program, request.target)
