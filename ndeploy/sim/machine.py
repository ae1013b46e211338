"""What this machine multiplies exactly, and how fast: measured once a process, on first need.

Results never depend on these figures, only which of several exact ways is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Machine:
    """int8_matmul, int8_conv: whether torch's are there and exact at the extremes; conv_top: the largest message that
    int8_conv takes. The rest in operations a second
    (a multiply-accumulate is one): int8 and float32 matrix products, synapses of the event-driven row sum."""

    int8_matmul: bool
    int8_conv: bool
    int8_rate: float
    float_rate: float
    event_rate: float
    conv_top: int = 127


def best_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of several runs after one that does not count."""
    work()
    shortest = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


@cache
def machine() -> Machine:
    """Measure (about 20 ms and the import of torch)."""
    import torch

    rows, k, n = 256, 256, 256
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.choice(np.array([-128, 127, 1, 0], dtype=np.int8), size=(rows, k)))
    b = torch.from_numpy(rng.choice(np.array([-128, 127, 126], dtype=np.int8), size=(k, n)))
    try:
        exact = torch._int_mm(a, b).numpy() == a.numpy().astype(np.int64) @ b.numpy().astype(np.int64)
        int8_matmul = bool(exact.all())
    except (AttributeError, RuntimeError):
        int8_matmul = False
    work = rows * k * n
    int8_rate = work / best_seconds(lambda: torch._int_mm(a, b)) if int8_matmul else 1.0
    af, bf = a.float(), b.float()
    float_rate = work / best_seconds(lambda: af @ bf)
    conv_top = 255 if _int8_conv_is_exact(255) else 127
    exact_conv = conv_top == 255 or _int8_conv_is_exact(127)
    return Machine(int8_matmul, exact_conv, int8_rate, float_rate, _event_rate(rng), conv_top)


def _event_rate(rng: np.random.Generator) -> float:
    from ndeploy.sim.kernels_events import gather_rows

    messages = (rng.random((128, 512)) < 0.1).astype(np.int8)
    weight = rng.integers(-128, 128, size=(512, 256)).astype(np.int8)
    sums = np.empty((128, 256), dtype=np.int32)
    return float(messages.sum() * 256 / best_seconds(lambda: gather_rows(messages, weight, sums)))


def _int8_conv_is_exact(top: int) -> bool:
    from ndeploy.sim.convolution import Int8Conv
    from ndeploy.synapses import Conv

    weight = np.full((16, 32, 3, 3), 127, dtype=np.int16)
    weight[::2] = -128
    rows = np.full((2, 6 * 6 * 32), top, dtype=np.uint8)
    rows[1, ::3] = 1
    try:
        found = Int8Conv(Conv(weight, (32, 6, 6), padding=(1, 1))).apply(rows)
    except (AttributeError, RuntimeError):
        return False
    x = np.pad(rows.reshape(2, 6, 6, 32).astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return bool(np.array_equal(found.reshape(2, 6, 6, 16), np.einsum("ryxcij,ocij->ryxo", windows, weight.astype(int))))
