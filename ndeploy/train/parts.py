"""Gradients of a batch, its parts on threads of their own.

The parts of a batch and the order in which their gradients are added depend on the program alone, so that the sums are
the same on any number of cores. A part has its own copy of the network, which shares the trained numbers.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import IntArray
from ndeploy.train.executor import ProgramNet

PARTS = 2
"""Of a batch. A network that is stepped waits for the interpreter, not for arithmetic, and is not divided."""
Loss = Callable[[ProgramNet, Tensor, IntArray], Tensor]
"""The mean loss of some samples."""


def trained(net: ProgramNet, gain: torch.nn.Parameter) -> list[torch.nn.Parameter]:
    """What an optimiser moves, in a fixed order; the gain of the logits comes last, if it is trained."""
    return [latent.free for _, latent in net.latents()] + ([gain] if gain.requires_grad else [])


class Parts:
    """Losses and gradients of batches."""

    def __init__(self, net: ProgramNet, gain: torch.nn.Parameter, loss: Loss) -> None:
        recurrent = any(component.recurrent for component in net.planned.components)
        self.nets = [net]
        for _ in range(0 if recurrent else PARTS - 1):
            replica = copy.deepcopy(net)
            for own, shared in zip(trained(replica, gain), trained(net, gain), strict=True):
                own.data = shared.data
            self.nets.append(replica)
        self.gain, self.loss = gain, loss
        self.workers = min(len(self.nets), _cores())

    def gradients(self, rows: IntArray) -> tuple[float, list[Tensor]]:
        """The mean loss of those samples and its gradients, in the order of `trained`."""
        jobs = [
            (net, part) for net, part in zip(self.nets, np.array_split(rows, len(self.nets)), strict=True) if len(part)
        ]

        def one(job: tuple[ProgramNet, IntArray]) -> tuple[float, list[Tensor]]:
            torch.set_num_threads(1)
            net, part = job
            loss = self.loss(net, self.gain, part) * (len(part) / len(rows))
            parameters = trained(net, self.gain)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            return float(loss.detach()), [
                torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)
            ]

        if self.workers == 1:
            results = [one(job) for job in jobs]
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                results = list(pool.map(one, jobs))
        total = results[0][1]
        for _, more in results[1:]:
            total = [a + b for a, b in zip(total, more, strict=True)]
        return sum(loss for loss, _ in results), total


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
