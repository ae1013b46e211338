"""All-to-all synapses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.synapses.base import Synapses


@dataclass(frozen=True, eq=False)
class Dense(Synapses):
    """weight: (n_out, n_in)."""

    kind: ClassVar[str] = "dense"

    @property
    def n_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def n_out(self) -> int:
        return int(self.weight.shape[0])

    def to_coo(self) -> tuple[IntArray, IntArray, IntArray]:
        target, source = np.indices(self.weight.shape)
        return target.reshape(-1), source.reshape(-1), np.arange(self.weight.size)

    def fan_out(self) -> IntArray:
        return np.full(self.n_in, self.n_out, dtype=np.int64)
