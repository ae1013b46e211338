"""Synapses listed one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.synapses.base import Synapses


@dataclass(frozen=True, eq=False)
class Sparse(Synapses):
    """weight, target, source: (synapses,); no pair may be listed twice. Sorted by target, then source."""

    kind: ClassVar[str] = "sparse"
    target: IntArray
    source: IntArray
    inputs: int
    outputs: int

    @property
    def n_in(self) -> int:
        return self.inputs

    @property
    def n_out(self) -> int:
        return self.outputs

    def to_coo(self) -> tuple[IntArray, IntArray, IntArray]:
        return self.target, self.source, np.arange(self.weight.size)


def identity(n: int, weight: int = 1) -> Sparse:
    """One synapse from each neuron to its namesake."""
    index = np.arange(n, dtype=np.int64)
    return Sparse(np.full(n, weight, dtype=np.int16), index, index, n, n)
