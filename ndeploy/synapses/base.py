"""What every synapse layout answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray

WeightArray = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Synapses(ABC):
    """Integer weight mantissas between `n_in` source neurons and `n_out` target neurons.

    Neurons are numbered in C order of their population's shape. A synapse is a stored weight, zero or not;
    a synaptic operation is one non-zero message visiting one synapse.
    """

    kind: ClassVar[str]
    weight: WeightArray

    @property
    @abstractmethod
    def n_in(self) -> int:
        """Number of source neurons."""

    @property
    @abstractmethod
    def n_out(self) -> int:
        """Number of target neurons."""

    @abstractmethod
    def to_coo(self) -> tuple[IntArray, IntArray, IntArray]:
        """Every synapse as (target index, source index, flat index into `weight`), the slow and obvious form."""

    def fan_out(self) -> IntArray:
        """Synapses that leave each source neuron, shape (n_in,)."""
        _, source, _ = self.to_coo()
        return np.bincount(source, minlength=self.n_in).astype(np.int64)

    def count(self) -> int:
        """Number of synapses, shared weights counted at every place they are used."""
        return int(self.fan_out().sum())

    def sums(self) -> tuple[IntArray, IntArray]:
        """Per target neuron the sums of its positive and of its negative weights, each (n_out,): for range proofs."""
        target, _, index = self.to_coo()
        w = self.weight.reshape(-1).astype(np.int64)[index]
        positive = np.bincount(target, weights=np.maximum(w, 0), minlength=self.n_out)
        negative = np.bincount(target, weights=np.minimum(w, 0), minlength=self.n_out)
        return positive.astype(np.int64), negative.astype(np.int64)
