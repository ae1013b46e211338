"""Whole numbers that are trained as real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.fixed import IntArray
from ndeploy.neurons import Parameter
from ndeploy.train.straight import fitted, rounded

FloatArray = npt.NDArray[np.float64]


class Latent(torch.nn.Module):
    """A parameter of integers low .. high, trained as `start + unit * free`, used rounded to nearest.

    Its structure stays: along axes where all values are equal there is one number to train, and a parameter stored as
    one number stays one number. A start outside the range is clipped to it. `free` (float64) starts at zero, so one
    rate suits parameters of any magnitude if `unit` is what a step of 1 should mean: one mantissa for weights, a share
    of itself for a threshold. reach: how far a bounded training may go, in units of the value; `unit` where not given.
    compact: False trains every number of an array, equal or not: weights.
    fit: what the registers make of the rounded values (integers in, integers out), for fields of few bits.
    Gradients pass straight through; `project` keeps the real value inside the range, and must follow every step.
    """

    def __init__(
        self,
        start: Parameter | npt.NDArray[Any] | float,
        low: int,
        high: int,
        *,
        unit: float = 1.0,
        reach: float | None = None,
        fit: Callable[[IntArray], IntArray] | None = None,
        compact: bool = True,
    ) -> None:
        super().__init__()
        given = np.asarray(start, dtype=np.float64)
        self.shape = given.shape
        self.whole = isinstance(start, int)
        kept = np.clip(compacted(given) if compact else given, low, high)
        self.low, self.high, self.unit, self.fit = low, high, unit, fit
        self.reach = unit if reach is None else reach
        self.base: Tensor
        self.register_buffer("base", torch.from_numpy(np.array(kept, dtype=np.float64)))
        self.free = torch.nn.Parameter(torch.zeros(kept.shape, dtype=torch.float64))

    def real(self) -> Tensor:
        """What is trained, in the compact shape."""
        return self.base + self.unit * self.free

    def value(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The whole numbers that are used, in the compact shape: it broadcasts to the shape given."""
        whole = rounded(self.real())
        if self.fit is not None:
            whole = fitted(whole, self.fit)
        return whole.to(dtype)

    def integer(self) -> Any:
        """The whole numbers in the form they came in: an int, or an int64 array of the same shape."""
        with torch.no_grad():
            value = np.rint(self.value().numpy()).astype(np.int64)
        if self.whole:
            return int(value)
        return np.ascontiguousarray(np.broadcast_to(value, self.shape))

    @torch.no_grad()
    def become(self, value: npt.NDArray[Any]) -> None:
        """Take the whole numbers that `integer` gave."""
        compact = np.asarray(value, dtype=np.float64)
        for axis, length in enumerate(self.base.shape):
            if compact.shape[axis] != length:
                compact = np.take(compact, [0], axis)
        self.free.copy_((torch.from_numpy(np.array(compact)) - self.base) / self.unit)

    @torch.no_grad()
    def project(self, bounded: bool = False) -> None:
        """Bring the real value back into the range and, if bounded, to within `reach` of where it started."""
        low, high = (self.low - self.base) / self.unit, (self.high - self.base) / self.unit
        if bounded:
            low, high = low.clamp(min=-self.reach / self.unit), high.clamp(max=self.reach / self.unit)
        self.free.clamp_(low, high)


def compacted(value: FloatArray) -> FloatArray:
    """The smallest array that broadcasts to the value: axes along which it is constant have length 1."""
    for axis in range(value.ndim):
        if value.shape[axis] > 1:
            first = np.take(value, [0], axis)
            if (value == first).all():
                value = first
    return value
