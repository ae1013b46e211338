"""What a placement is: slices of units on cores, what every core holds, and what no neurocore does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ndeploy.fixed import IntArray
from ndeploy.place.links import Box, neurons


@dataclass(frozen=True)
class Slice:
    """Neurons of one unit on one core. unit: a population, or "<product>/neurons" and the like; grid: its shape as
    placed; box: (start, stop) on each axis of it; owner: the population or product; core: its number on the system, as
    `ndeploy.target.Mesh` counts."""

    unit: str
    owner: str
    grid: tuple[int, ...]
    box: Box
    core: int
    size: int

    def neurons(self) -> IntArray:
        """Flat indices (C order) of the unit's neurons in this slice."""
        return neurons(self.box, self.grid)


@dataclass(frozen=True)
class CoreUse:
    """What a core holds."""

    core: int
    neurons: int
    memory_bytes: int
    in_axons: int
    out_axons: int
    neuron_configurations: int
    threshold_configurations: int
    state_bytes: int


@dataclass(frozen=True)
class Operation:
    """Something that no neurocore does: kind "embedded" (the chip's processor) or "host".

    operations: arithmetic operations a sample, 0 where there are none to count; multiply_accumulates: those of them
    that are a product's.
    """

    name: str
    kind: str
    reason: str
    multiply_accumulates: int = 0
    operations: int = 0


@dataclass(frozen=True)
class Placed:
    """A program on cores. cores, cores_lower_bound and chips are 0 for a target that has no cores (lava).

    bound_by: the resource that sets the lower bound; objective, method: what was asked for and who found it ("greedy",
    "cp-sat"); reason: why there are more cores than the bound, a sentence, "" where there are not; axons: by population
    and product, out-axons of all its neurons (for inputs those of the host, for embedded populations those of the
    processor), that is messages if each neuron spiked once; weight_memory_bytes: of synaptic memory with every unit
    cut on its own, as `ndeploy.search.cost` says (cores filled up hold more where weights are shared: the sum over
    `use`); state_memory_bytes: of all neurons; unknown: limits that nobody published.
    """

    target: str
    slices: tuple[Slice, ...]
    use: tuple[CoreUse, ...]
    cores: int
    cores_lower_bound: int
    bound_by: str
    chips: int
    weight_memory_bytes: int
    embedded_ops: tuple[Operation, ...] = ()
    host_ops: tuple[Operation, ...] = ()
    axons: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    state_memory_bytes: int = 0
    objective: str = "cores"
    method: str = "greedy"
    reason: str = ""

    @property
    def gap(self) -> int:
        """Cores above the lower bound."""
        return self.cores - self.cores_lower_bound

    def summary(self) -> dict[str, Any]:
        """JSON-like data without the slices."""
        return {
            "target": self.target,
            "cores": self.cores,
            "cores_lower_bound": self.cores_lower_bound,
            "bound_by": self.bound_by,
            "objective": self.objective,
            "method": self.method,
            "reason": self.reason,
            "chips": self.chips,
            "weight_memory_bytes": self.weight_memory_bytes,
            "memory_on_cores_bytes": sum(core.memory_bytes for core in self.use),
            "state_memory_bytes": self.state_memory_bytes,
            "embedded_ops": [_plain(operation) for operation in self.embedded_ops],
            "host_ops": [_plain(operation) for operation in self.host_ops],
            "unknown_limits": list(self.unknown),
            "notes": list(self.notes),
        }


def _plain(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "kind": operation.kind,
        "reason": operation.reason,
        "multiply_accumulates": operation.multiply_accumulates,
        "operations": operation.operations,
    }
