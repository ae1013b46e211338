"""Units that a population's weights came with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray


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
