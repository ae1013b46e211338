"""Leaky integrate-and-fire neurons over all steps at once: the compiled form of `TrainableLif.forward`.

Blocks of samples are spread over torch's threads; what they sum to does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndeploy.train import scan_kernels
from ndeploy.train.surrogate import slope

BLOCK = 8
"""Samples of a block."""
RESETS = {"zero": scan_kernels.ZERO, "subtract": scan_kernels.SUBTRACT, "none": scan_kernels.NONE}


@dataclass(frozen=True, eq=False)
class Scanned:
    """What is not trained. keep_u, keep_v: decay factors in 1/4096; amount, to: of the reset; width: of the surrogate.

    All (N,) float64. scale: what a unit of input adds to the current; forgets, wraps: as `scan_kernels.forward` has it.
    """

    steps: int
    scale: float
    forgets: bool
    wraps: bool
    keep_u: Tensor
    keep_v: Tensor
    reset: int
    amount: Tensor
    to: Tensor
    width: Tensor


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entering: Tensor, bias: Tensor, vth: Tensor, how: Scanned) -> Tensor:
        samples, _, size = entering.shape
        given = entering.detach().contiguous().numpy()
        above = torch.empty((samples, how.steps, size), dtype=torch.float32)
        clipped = torch.empty((samples, how.steps, size), dtype=torch.int8)
        parameters = [x.detach().contiguous().numpy() for x in (how.keep_u, how.keep_v, bias, vth)]
        reset = [x.contiguous().numpy() for x in (how.amount, how.to)]

        def one(rows: slice, block: int) -> None:
            scan_kernels.forward(
                given[rows], how.steps, how.scale, how.forgets, how.wraps, *parameters, how.reset, *reset,
                above.numpy()[rows], clipped.numpy()[rows],  # type: ignore[call-arg]
            )  # fmt: skip

        _spread(one, samples)
        ctx.save_for_backward(above, clipped)
        ctx.how, ctx.given, ctx.dtype = how, entering.shape[1], entering.dtype
        return (above > 0).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        above, clipped = ctx.saved_tensors
        how: Scanned = ctx.how
        samples, _, size = above.shape
        entered = torch.empty((samples, ctx.given, size), dtype=ctx.dtype)
        blocks = -(-samples // BLOCK)
        bias, vth = np.zeros((blocks, size)), np.zeros((blocks, size))
        given = grads[0].contiguous().numpy()
        tilt = slope(above, how.width.to(torch.float32)).numpy()
        keep = how.keep_u.contiguous().numpy(), how.keep_v.contiguous().numpy()

        def one(rows: slice, block: int) -> None:
            scan_kernels.backward(
                tilt[rows], above.numpy()[rows], clipped.numpy()[rows], given[rows],
                how.scale, how.forgets, *keep, how.reset, np.empty((2, size)), entered.numpy()[rows],
                bias[block], vth[block],
            )  # fmt: skip

        _spread(one, samples)
        return entered, torch.from_numpy(bias.sum(0)), torch.from_numpy(vth.sum(0)), None


def scan(entering: Tensor, bias: Tensor, vth: Tensor, how: Scanned) -> Tensor:
    """Spikes (samples, steps, N) in float32 for input (samples, steps or 1, N); bias, vth: (N,) float64."""
    spikes: Tensor = _Scan.apply(entering, bias, vth, how)  # type: ignore[no-untyped-call]
    return spikes


def _spread(one: Callable[[slice, int], None], samples: int) -> None:
    """Every block of samples with its number, on as many threads as torch uses."""
    jobs = [(slice(first, min(first + BLOCK, samples)), i) for i, first in enumerate(range(0, samples, BLOCK))]
    workers = min(torch.get_num_threads(), len(jobs))
    if workers == 1:
        for job in jobs:
            one(*job)
        return

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: one(*job), jobs))
