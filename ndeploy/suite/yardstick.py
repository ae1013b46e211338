"""What a piece of work costs in units of another that never changes, so that times of unequal machines compare.

Processor time of the thread, not the clock: what else the machine and the process do counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
ROUNDS, LONG_ROUNDS = 5, 4
LEAST_ROUND, LONG_ROUND = 0.02, 1.0
"""Seconds: shorter work is repeated, longer work has fewer rounds."""
MOST_REPEATS = 50


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the processor seconds that this thread took for it."""
    began = time.thread_time()
    found = work()
    return found, time.thread_time() - began


def yardstick() -> float:
    """Processor seconds of a fixed mixture of sorting, multiplying and interpreting: the least of some rounds."""
    return max(min(timed(_work)[1] for _ in range(ROUNDS)), 1e-6)


def in_yardsticks(work: Callable[[], object]) -> float:
    """What a piece of work takes, in units of the yardstick: the least of rounds in which the two take turns, so that
    both see the same machine. Short work is repeated within a round."""
    once = timed(work)[1]
    repeats = max(1, min(MOST_REPEATS, int(LEAST_ROUND / max(once, 1e-6))))
    rounds = ROUNDS if once * repeats < LONG_ROUND else LONG_ROUNDS
    unit = least = float("inf")
    for _ in range(rounds):
        unit = min(unit, timed(_work)[1], timed(_work)[1])
        least = min(least, timed(lambda: [work() for _ in range(repeats)])[1] / repeats)
    return least / max(unit, 1e-6)


def _work() -> Any:
    values = (np.arange(1 << 17, dtype=np.int64) * 2654435761) % 1000003
    ordered = np.sort(values)
    table = ordered.reshape(256, 512)
    products = np.einsum("ij,kj->ik", table[:32], table[32:64])
    return int(products.sum()) + sum(i * i % 7 for i in range(20000))
