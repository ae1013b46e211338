"""What a search decides: the width of every layer's weights and of every graded message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ndeploy.ir.lowered import Lowered
from ndeploy.passes.codings import rescales

LEAST_BITS, MOST_BITS = 2, 8


@dataclass(frozen=True)
class Layer:
    """Weights that share a width: a trained projection. parameters: its weights, shared ones once."""

    name: str
    target: str
    parameters: int


@dataclass(frozen=True)
class Assignment:
    """weights: bits by projection; messages: payload bits by graded population, where not the default. rounding:
    "together", or "plain" for what the method uniform does, or a name of
    `Request.variants`."""

    weights: Mapping[str, int]
    messages: Mapping[str, int] = field(default_factory=dict)
    rounding: str = "together"

    def key(self) -> str:
        """The same text for equal assignments, whatever the order they were made in."""
        parts = [self.rounding] + [f"{name}={bits}" for name, bits in sorted(self.weights.items())]
        return ";".join(parts + [f"@{name}={bits}" for name, bits in sorted(self.messages.items())])


def layers(lowered: Lowered) -> tuple[Layer, ...]:
    """Every projection whose width is free, in the program's order."""
    return tuple(
        Layer(p.name, p.target, int(p.synapses.weight.size))
        for p in lowered.projections
        if not p.unit and p.integer is None
    )


def messages(lowered: Lowered) -> tuple[str, ...]:
    """Every graded population whose payload is free."""
    return tuple(p.name for p in lowered.populations if rescales(lowered, p))


def mean_bits(lowered: Lowered, weights: Mapping[str, int]) -> float:
    """Mean over trained weights; weights taken over exactly count with the width they came with."""
    total = bits = 0.0
    for p in lowered.projections:
        if not p.unit:
            total += p.synapses.weight.size
            bits += p.synapses.weight.size * (p.integer.bits if p.integer is not None else weights[p.name])
    return bits / total if total else 0.0
