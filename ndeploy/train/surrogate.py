"""Spikes with norse's surrogate gradient.

norse is optional and is imported when the first spike is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ndeploy.errors import UsageError

SHARPNESS = 2.0
"""The membrane's distance from the threshold is taken in units of threshold / SHARPNESS: the gradient of a spike is
1 / (|x| + 1)^2 of that (SuperSpike), a quarter at half a threshold away."""


@cache
def superspike() -> Callable[[Tensor], Tensor]:
    """norse's SuperSpike: heaviside forward, 1 / (|x| + 1)^2 backward (Zenke and Ganguli 2018, section 3.3.2).

    Raises UsageError ND720 where norse is not installed.
    """
    try:
        with warnings.catch_warnings():
            # norse 1.1 still scripts some functions, which newer torch deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            from norse.torch.functional.superspike import super_fn
    except ImportError as error:
        raise UsageError(
            "ND720",
            f"fine-tuning needs norse for its surrogate gradients: {error}",
            help="pip install --no-deps norse nir nirtorch (without --no-deps it would replace torch)",
        ) from error
    function: Callable[[Tensor], Tensor] = super_fn
    return function


def spike(above: Tensor, width: Tensor | float) -> Tensor:
    """1.0 where `above` > 0, else 0.0; the gradient is SuperSpike's of above / width * SHARPNESS."""
    return superspike()(above * (SHARPNESS / width))


def slope(above: Tensor, width: Tensor | float) -> Tensor:
    """The derivative of `spike` at each value."""
    x = above.detach() * (SHARPNESS / width)
    with torch.enable_grad():
        x.requires_grad_()
        found: tuple[Any, ...] = torch.autograd.grad(superspike()(x).sum(), x)
    derivative: Tensor = found[0] * (SHARPNESS / width)
    return derivative
