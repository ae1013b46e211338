"""Units that weights came with, and who is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray, RealPopulation
from ndeploy.quantizer import Choices


@dataclass(frozen=True, eq=False)
class Given:
    """step: the real value of a mantissa of 1, broadcasting to the population's shape; mantissas, bits and own exponent
    by projection; fine: by which power of two the unit of the input is finer than the step; scale: what shares a step;
    rounded: neurons or channels whose step is finer than the state can hold beside their threshold, whose weights are
    rounded to one that it can."""

    step: FloatArray
    mantissas: Mapping[str, npt.NDArray[np.int16]]
    bits: Mapping[str, int]
    own: Mapping[str, int]
    fine: int
    scale: str
    rounded: int = 0


class Taking(Protocol):
    """What comes with a network and is not to be chosen."""

    def units(self, population: RealPopulation, units: Mapping[str, Any]) -> Given | None:
        """Of a population of neurons, by the worth of every source's message; None where all is to be chosen."""

    def messages(self, choices: Choices) -> Choices:
        """The choices for graded neurons before weights are rounded."""

    def ports(self, choices: Choices) -> Choices:
        """The choices for graded neurons after weights were rounded."""
