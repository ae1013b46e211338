"""Measuring assignments: build the program, run it on calibration data, judge its answers.

What has been measured is kept in the journal; what has not runs on the pool's workers. BLAS and the simulator keep to
one thread while a program is built, so that roundings do not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ndeploy.data import Data
from ndeploy.errors import RefusedError
from ndeploy.quantizer import Quantised, Request
from ndeploy.search.assignment import Assignment
from ndeploy.search.fingerprint import fingerprint
from ndeploy.search.journal import Journal
from ndeploy.search.score import Reference, Score, score
from ndeploy.search.workers import pool, threads

REFUSED = 1e6
"""The loss of widths from which no program can be built."""

Build = Callable[[Request, Assignment, dict[Any, Any]], Quantised]
"""How a method turns an assignment into a program; the dict keeps what it has rounded before."""


@dataclass(frozen=True, eq=False)
class Context:
    """What every measurement shares. build: a function of a module, so that other processes find it."""

    request: Request
    data: Data
    wanted: Reference
    build: Build
    memo: dict[Any, Any] = field(default_factory=dict)


def built(context: Context, assignment: Assignment, final: bool = False) -> Quantised:
    """The program of an assignment, the same on any number of cores; `final` makes sure of the room for its states."""
    from threadpoolctl import threadpool_limits

    request = replace(context.request, rooms={}) if final else context.request
    with threadpool_limits(1):
        return context.build(request, assignment, context.memo)


def measure(context: Context, assignment: Assignment) -> Score:
    """Build and judge; widths from which no program can be built lose `REFUSED`."""
    try:
        program = built(context, assignment).program
    except RefusedError:
        return Score(REFUSED, None)
    return score(program, context.data, context.wanted, threads())


class Measurer:
    """Scores of assignments, in their order; a context manager that closes journal and workers.

    notes: what journal and workers have to say to the user. evaluations: measured or taken from the journal.
    """

    def __init__(self, context: Context, progress: Callable[[str], None]) -> None:
        self.context, self.progress = context, progress
        search = context.request.search
        self.pool = pool(search.workers, context)
        try:
            self.journal = Journal(search.journal, fingerprint(context.request))
        except BaseException:
            self.pool.close()
            raise
        self.known: dict[str, Score] = {}

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.close()
        self.journal.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear of journal and workers."""
        return (*self.journal.notes, *self.pool.notes)

    @property
    def evaluations(self) -> int:
        """Different programs judged so far."""
        return len(self.known)

    def __call__(self, assignments: Sequence[Assignment], stage: str) -> list[Score]:
        """Scores in the order given; `stage` is what progress says is being done."""
        waiting: dict[str, Assignment] = {}
        for assignment in assignments:
            key = assignment.key()
            kept = self.journal.get(key)
            if key not in self.known and kept is not None:
                self.known[key] = Score(**kept)
            elif key not in self.known:
                waiting.setdefault(key, assignment)
        total = len(waiting)
        found = self.pool.map(measure, list(waiting.values()))
        for done, (key, value) in enumerate(zip(waiting, found, strict=True), 1):
            self.known[key] = value
            self.journal.put(key, asdict(value))
            self.progress(f"{stage}: {done} of {total}")
        return [self.known[assignment.key()] for assignment in assignments]
