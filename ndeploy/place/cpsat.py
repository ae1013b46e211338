"""Small packings by CP-SAT, Google's constraint solver (ortools, the optional extra `place`).

Boxes are given, their out-axons too, for those depend on boxes and not on cores; the solver chooses the core of each.
Deterministic: one worker, a fixed seed, and a limit of work that counts the solver's steps and not seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ndeploy.errors import UsageError
from ndeploy.place.assign import Piece
from ndeploy.place.split import UNLIMITED, Capacity

MOST_PIECES, MOST_CORES = 96, 32
"""What counts as small."""
WORK = 0.5
"""The solver's deterministic time, about seconds of one core."""
SEED = 5


def installed() -> bool:
    """Whether ortools can be imported."""
    from importlib.util import find_spec

    return find_spec("ortools") is not None


def require() -> None:
    """Raises UsageError ND416 where ortools is not installed."""
    if not installed():
        raise UsageError(
            "ND416",
            "method cp-sat needs the package ortools, which is not installed",
            help="pip install ndeploy[place], or use the method greedy",
        )


def is_small(pieces: int, cores: int) -> bool:
    """Whether so many pieces, now on so many cores, are few enough to be solved."""
    return 1 < pieces <= MOST_PIECES and 1 < cores <= MOST_CORES


def solve(pieces: tuple[Piece, ...], capacity: Capacity, bound: int, cores: int) -> tuple[int, ...] | None:
    """The core of each piece, on as few of `cores` cores as the solver finds; None where it finds no packing.

    bound: cores at which it need not search on. Cores are numbered from 0 and all used.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    at = [[model.new_bool_var(f"{p},{c}") for c in range(cores)] for p in range(len(pieces))]
    used = [model.new_bool_var(f"used {c}") for c in range(cores)]
    for row in at:
        model.add_exactly_one(row)
    for amounts, limit in _resources(pieces, capacity):
        for c in range(cores):
            model.add(sum(n * at[p][c] for p, n in enumerate(amounts) if n) <= limit * used[c])
    for held, limit in (
        ([piece.need.configurations for piece in pieces], capacity.configurations),
        ([piece.need.thresholds for piece in pieces], capacity.thresholds),
    ):
        distinct = sorted({name for names in held for name in names}, key=repr)
        if limit >= len(distinct):
            continue
        for c in range(cores):
            there = {name: model.new_bool_var(f"{k} on {c}") for k, name in enumerate(distinct)}
            for p, names in enumerate(held):
                for name in sorted(names, key=repr):
                    model.add_implication(at[p][c], there[name])
            model.add(sum(there.values()) <= limit * used[c])
    for c in range(cores):
        for row in at:
            model.add_implication(row[c], used[c])
    for before, after in pairwise(used):
        model.add_implication(after, before)
    for p, row in enumerate(at[:cores]):  # the first piece on the first core, the next on one of the first two, ...
        for c in range(p + 1, cores):
            model.add(row[c] == 0)
    model.add(sum(used) >= bound)
    model.minimize(sum(used))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = SEED
    solver.parameters.max_deterministic_time = WORK
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    found = [next(c for c in range(cores) if solver.boolean_value(row[c])) for row in at]
    number = {core: n for n, core in enumerate(dict.fromkeys(found))}
    return tuple(number[core] for core in found)


def _resources(pieces: tuple[Piece, ...], capacity: Capacity) -> Iterable[tuple[list[int], int]]:
    """(amount by piece, limit of a core) of everything that adds up."""
    for amounts, limit in (
        ([piece.need.neurons for piece in pieces], capacity.neurons),
        ([piece.need.memory for piece in pieces], capacity.memory),
        ([piece.need.in_axons for piece in pieces], capacity.in_axons),
        ([piece.out_axons for piece in pieces], capacity.out_axons),
        ([piece.need.state for piece in pieces], capacity.state),
    ):
        if limit < UNLIMITED and any(amounts):
            yield amounts, limit
