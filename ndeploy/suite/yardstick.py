"""What a piece of work costs in units of another that never changes, so that times of unequal machines compare.

Processor time, not the clock: what else the machine does counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
ROUNDS = 5


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the processor seconds that this process took for it."""
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


def yardstick() -> float:
    """Processor seconds of a fixed mixture of sorting, multiplying and interpreting: the least of some rounds."""
    return max(min(timed(_work)[1] for _ in range(ROUNDS)), 1e-6)


def _work() -> Any:
    values = (np.arange(1 << 17, dtype=np.int64) * 2654435761) % 1000003
    ordered = np.sort(values)
    table = ordered.reshape(256, 512)
    products = np.einsum("ij,kj->ik", table[:32], table[32:64])
    return int(products.sum()) + sum(i * i % 7 for i in range(20000))
