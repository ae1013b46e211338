"""The narrowest widths that keep an accuracy: a bisection over memory, then bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ndeploy.budget import infeasible
from ndeploy.errors import RefusedError, UsageError
from ndeploy.search.allocation import allocate
from ndeploy.search.assignment import MOST_BITS, Assignment
from ndeploy.search.limits import Problem, packed_bytes
from ndeploy.search.measure import Context, Measurer, built
from ndeploy.search.score import Score

ROUNDS = 4
HALVINGS = 7
"""Steps of the bisection."""


def narrowest(
    context: Context,
    measurer: Measurer,
    asked: Problem,
    losses: Mapping[str, Mapping[int, float]],
    widest: tuple[Assignment, Score],
) -> tuple[Assignment, Score]:
    """The assignment of least memory found that loses no more accuracy than allowed, and its score.

    losses: what every layer adds to the loss at every width. widest: all layers at their widest, and the score of that.
    Raises UsageError ND308 (nothing to compare), RefusedError ND306 (not even the widest keep the accuracy, or what
    does exceeds another budget).
    """
    points = context.request.budget.accuracy_points
    real, base = context.wanted.accuracy, widest[1]
    if points is None or real is None or base.accuracy is None:
        raise UsageError(
            "ND308",
            "an accuracy budget compares answers, and this network gives none",
            help="give --bit-budget or --memory-budget",
        )
    least = real - points / 100.0 - 1e-12
    if base.accuracy < least:
        raise infeasible(
            "accuracy budget",
            points,
            max(0.0, 100.0 * (real - base.accuracy)),
            "points",
            f"with {MOST_BITS}-bit weights everywhere the program loses that against the float network",
        )
    size = asked.size
    best, got = _bisected(measurer, asked, losses, least, widest)
    if not asked.within(best.weights):
        best, got = _bisected(measurer, replace(asked, limits=()), losses, least, widest)
    # bit by bit from there, what saves most first
    for round_ in range(ROUNDS):
        moves = [(n, b - 1) for n, b in best.weights.items() if b - 1 in asked.options[n]]
        scores = measurer([_with(best, n, b) for n, b in moves], f"narrowing, round {round_ + 1}")
        allowed = [
            (size.costs[n][b + 1] - size.costs[n][b], n, b)
            for (n, b), s in zip(moves, scores, strict=True)
            if s.accuracy is not None and s.accuracy >= least
        ]
        start = best
        for saved, name, bits in sorted(allowed, key=lambda x: (-x[0], x[1])):
            if saved <= 0:
                continue
            tried = _with(best, name, bits)
            (found,) = measurer([tried], f"narrowing, round {round_ + 1}")
            if found.accuracy is not None and found.accuracy >= least:
                best, got = tried, found
        if best is start:
            break
    _require_within(context, asked, best)
    return best, got


def _bisected(
    measurer: Measurer,
    asked: Problem,
    losses: Mapping[str, Mapping[int, float]],
    least: float,
    start: tuple[Assignment, Score],
) -> tuple[Assignment, Score]:
    """Within the limits, the allocation of least memory found with at least that accuracy; `start` where none has."""
    (best, got), size = start, asked.size
    low = math.fsum(min(size.costs[x.name][b] for b in asked.options[x.name]) for x in asked.layers)
    high = size.taken(best.weights)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        limits = (*asked.limits, replace(size, most=middle))
        try:
            chosen = replace(best, weights=allocate(asked.items(losses, limits), [x.most for x in limits]))
        except RefusedError:
            low = middle
            continue
        (found,) = measurer([chosen], "looking for the narrowest")
        if found.accuracy is not None and found.accuracy >= least:
            best, got, high = chosen, found, min(middle, size.taken(chosen.weights))
        else:
            low = middle
    return best, got


def _require_within(context: Context, asked: Problem, best: Assignment) -> None:
    """Raises RefusedError ND306 where the assignment, the least found that keeps the accuracy, exceeds a limit."""
    for limit in asked.limits:
        taken, most = limit.taken(best.weights) + limit.fixed, limit.most + limit.fixed
        if limit.quantity == "bytes":  # what widths add up to is less where they cut a population into more boxes
            taken = max(taken, 8.0 * packed_bytes(context.request, built(context, best).program))
        if taken > most * (1 + 1e-9):
            raise infeasible(
                limit.name,
                most / limit.factor,
                taken / limit.factor,
                limit.quantity,
                "that is the least found which also keeps to the accuracy budget: raise one of the two",
            )


def _with(assignment: Assignment, name: str, bits: int) -> Assignment:
    return replace(assignment, weights={**assignment.weights, name: bits})
