"""What the machine can do with one thread, measured beside the simulators, and the floor this puts under a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ndeploy.ir.program import Program
from ndeploy.sim.kernels_events import gather_rows
from ndeploy.sim.machine import best_seconds
from ndeploy.synapses import Conv


@dataclass(frozen=True)
class Limits:
    """sgemm, int8_matmul: operations a second (a multiply and an add are two); read: bytes a second from memory;
    row_add: int8 synapses a second added up in cache."""

    sgemm: float
    int8_matmul: float
    read: float
    row_add: float


def measure() -> Limits:
    """About a second, one thread."""
    rng = np.random.default_rng(0)
    rows, k, n = 1600, 256, 256
    a = torch.from_numpy(rng.integers(0, 2, size=(rows, k), dtype=np.int8))
    b = torch.from_numpy(rng.integers(-128, 128, size=(k, n), dtype=np.int8))
    work = 2 * rows * k * n
    af, bf = a.float(), b.float()
    memory = torch.from_numpy(rng.integers(0, 2**40, size=2**25))
    spikes = (rng.random((800, 784)) < 0.1).astype(np.int8)
    weight = rng.integers(-128, 128, size=(784, 512)).astype(np.int8)
    sums = np.empty((800, 512), dtype=np.int32)
    return Limits(
        sgemm=work / best_seconds(lambda: af @ bf, 20),
        int8_matmul=work / best_seconds(lambda: torch._int_mm(a, b), 20),
        read=memory.numel() * 8 / best_seconds(lambda: memory.sum(), 5),
        row_add=float(spikes.sum()) * 512 / best_seconds(lambda: gather_rows(spikes, weight, sums), 20),
    )


def macs(program: Program) -> int:
    """Multiply-accumulates of a sample if every synapse were visited at every step."""
    total = 0
    for x in program.projections:
        if isinstance(x.synapses, Conv):
            total += int(np.prod(x.synapses.out_shape)) * int(np.prod(x.synapses.weight.shape[1:]))
        else:
            total += x.synapses.weight.size
    return total * program.steps


def floors(program: Program, synaptic_ops: float, limits: Limits) -> tuple[float, float]:
    """Seconds a sample that synapses alone need: (event-driven at the row-add rate, dense at the int8 matrix rate)."""
    return synaptic_ops / limits.row_add, 2 * macs(program) / limits.int8_matmul
