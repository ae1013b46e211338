"""Integer operations on floats that hold whole numbers, with gradients that pass straight through their rounding.

Values are those of ndeploy/fixed.py, bit for bit, as long as products stay below 2^53 (float64) or 2^24 (float32); the
gradient of each is that of the real operation it rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import DECAY_ONE, STATE_MAX, IntArray

EXACT32 = 1 << 24
"""float32 holds every whole number up to here."""
EXACT64 = 1 << 53


class _Straight(torch.autograd.Function):
    """Forward: the second argument; backward: the gradient goes to the first."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, value: Tensor) -> Tensor:
        return value.clone() if value is real else value.to(real.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight(real: Tensor, value: Tensor) -> Tensor:
    """`value`, in the type of `real`, with the gradient of `real`."""
    result: Tensor = _Straight.apply(real, value.detach())  # type: ignore[no-untyped-call]
    return result


class _Clip(torch.autograd.Function):
    """Forward: clamp; backward: nothing where it cut."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """Saturation: gradient inside the range, none where it cut."""
    result: Tensor = _Clip.apply(x, float(low), float(high))  # type: ignore[no-untyped-call]
    return result


def clip_state(x: Tensor) -> Tensor:
    """Saturation to +-(2^23 - 1)."""
    return clip(x, -STATE_MAX, STATE_MAX)


def rounded(real: Tensor) -> Tensor:
    """To nearest, ties to even."""
    return straight(real, real.detach().round())


def floored(real: Tensor) -> Tensor:
    """The largest whole number that is not above."""
    return straight(real, real.detach().floor())


def truncated(real: Tensor) -> Tensor:
    """Toward zero."""
    return straight(real, real.detach().trunc())


def shift(x: Tensor, exponent: int) -> Tensor:
    """x << exponent, or the arithmetic x >> -exponent (floor); exact in any float that holds x and the result."""
    if exponent == 0:
        return x
    return x * 2.0**exponent if exponent > 0 else floored(x * 2.0**exponent)


def round_shift(x: Tensor, bits: int | Tensor) -> Tensor:
    """x / 2^bits to nearest, halves up."""
    if isinstance(bits, int) and bits == 0:
        return x
    real = x * 2.0**-bits if isinstance(bits, int) else x * torch.exp2(-bits.to(x.dtype))
    return straight(real, (real.detach() + 0.5).floor())


def rescale(x: Tensor, multiplier: Tensor | int, bits: int | Tensor) -> Tensor:
    """x * multiplier / 2^bits to nearest, halves up; in float64, for the product may need 40 bits."""
    return round_shift(x.double() * multiplier, bits)


def decay(x: Tensor, factor: Tensor | int) -> Tensor:
    """x * factor / 4096 rounded toward zero; x must be float64 unless |x| * factor stays below 2^24."""
    return truncated(x * (factor / DECAY_ONE))


def wrap_state(x: Tensor) -> Tensor:
    """`fixed.wrap_state`: Lava's single wrap of the current into (-2^23, 2^23]; the gradient is that of no wrap."""
    with torch.no_grad():
        y = torch.remainder(x + 2.0**31, 2.0**32) - 2.0**31
        y = torch.where(y > 2.0**23, y - 2.0**24, y)
        y = torch.where(y < -(2.0**23) + 1, y + 2.0**24, y)
    return straight(x, y)


def fitted(real: Tensor, fit: Callable[[IntArray], IntArray]) -> Tensor:
    """Whole numbers that a function of numpy integers makes of the rounded ones: registers of few bits."""
    whole = np.rint(real.detach().numpy()).astype(np.int64)
    return straight(real, torch.from_numpy(np.asarray(fit(whole), dtype=np.int64)))
