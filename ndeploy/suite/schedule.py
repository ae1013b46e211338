"""Which case is measured on which lane, and what becomes of it where a lane fails.

A fault of a board is never taken for one of the case: the board runs a program whose answer is known (canary.py), and
the case runs on another board. What two boards that are well otherwise fail at, or where two boards part from the
simulator alike, is no fault of one board.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from ndeploy.errors import NdeployError
from ndeploy.suite import schedule_board
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Here, Lane
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.schedule_board import Board
from ndeploy.suite.verdict import Quarantined

LOCKS = ("ND668", "ND669")
"""What stands in the way of a board: no case is to blame for it."""
BUSY = "ND623"
"""Another client has the board: that is no fault."""
MORE_ATTEMPTS = 2
"""A case that boards fail at is tried as often as there are boards, and so much more."""
DEATHS = 2
"""Of the process that measures a case, after which it is given up; and of a lane's in a row, after which the others do
its work."""


@dataclass(frozen=True)
class Settled:
    """What became of a case. board: the lane's name where it is a board's; moves: from where it was moved and why;
    alike: two boards part from the simulator, or their meters from what they should show, in the same way."""

    case: Case
    found: Measured | Failure
    board: str = ""
    moves: tuple[str, ...] = ()
    alike: bool = False


class _Job:
    """A case on its way. free: it waits for a lane. well: what it failed with on boards whose canary was right then;
    sick: boards that it failed on, and whose canary failed too, until they are well again; again: it may go to a board
    of `well` once more; last: the last failed attempt and its board."""

    def __init__(self, case: Case, settled: Settled | None) -> None:
        self.case = case
        self.settled = settled
        self.board = case.runner in BOARDS
        self.free = True
        self.well: dict[str, str] = {}
        self.sick: set[str] = set()
        self.again = False
        self.last: tuple[Measured | Failure, str] | None = None
        self.moves: list[str] = []
        self.attempts = self.deaths = 0
        self.died_on: Lane | None = None

    @property
    def waits(self) -> bool:
        return self.free and self.settled is None


@dataclass(frozen=True, eq=False)
class _Ended:
    """job: None for the canary of a board in quarantine."""

    lane: Lane
    job: _Job | None
    probe: bool
    future: Future[Any]


class Schedule:
    """cases: of unique names. lanes: at least one for each kind of case. taken: what is known already, by name. keep:
    told of every other case when it is settled. pauses: None for `schedule_board.PAUSES`. doubt: why a measurement is
    not believed of its board, in words that are the same for boards that err alike, "" where it is; asked where another
    board could tell."""

    def __init__(
        self,
        cases: Sequence[Case],
        lanes: Sequence[Lane],
        *,
        taken: Mapping[str, Settled] | None = None,
        keep: Callable[[Settled], None] = lambda settled: None,
        progress: Callable[[str], None] = lambda line: None,
        pauses: Sequence[float] | None = None,
        doubt: Callable[[Case, Measured], str] = lambda case, found: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = taken or {}
        self._jobs = [_Job(case, known.get(case.name)) for case in cases]
        self._lanes = sorted(lanes, key=lambda lane: isinstance(lane, Here))  # those that block come last
        waits = schedule_board.PAUSES if pauses is None else pauses
        self._boards = {lane.name: Board(lane, waits, clock) for lane in lanes if lane.board}
        self._keep, self._progress, self._clock, self._doubt = keep, progress, clock, doubt
        self._deaths = dict.fromkeys(map(id, lanes), 0)
        self._busy: set[int] = set()
        self._ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Of all boards, so far."""
        return tuple(entry for board in self._boards.values() for entry in board.quarantines)

    def run(self) -> Generator[Settled, None, None]:
        """Every case, in the order of the cases. Leaving early still keeps what had been measured by then."""
        following = 0
        try:
            while following < len(self._jobs):
                settled = self._jobs[following].settled
                if settled is not None:
                    following += 1
                    yield settled
                    continue
                self._dispatch()
                self._tell()
                self._hear()
                self._give_up()
        finally:
            self._drain()

    # -- giving work -------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for lane in self._lanes:
            if id(lane) in self._busy:
                continue
            board = self._boards.get(lane.name)
            if board is not None and board.due is not None:
                if self._needs_boards() and board.due <= self._clock():
                    self._give(lane, None, probe=True)
                continue
            job = next((job for job in self._jobs if job.waits and self._suits(job, lane)), None)
            if job is not None:
                job.free = False
                self._give(lane, job, probe=False)
                if isinstance(lane, Here):
                    return  # others may have ended meanwhile

    def _give(self, lane: Lane, job: _Job | None, *, probe: bool) -> None:
        self._busy.add(id(lane))
        future: Future[Any] = lane.probe() if probe or job is None else lane.submit(job.case)
        future.add_done_callback(lambda ended: self._ended.put(_Ended(lane, job, probe, ended)))

    def _suits(self, job: _Job, lane: Lane) -> bool:
        """Whether the lane may take it, and no other is to be preferred because processes died on this one."""
        if not self._takes(job, lane):
            return False
        if job.died_on is not lane and self._deaths[id(lane)] < DEATHS:
            return True
        others = (other for other in self._lanes if other is not lane and self._deaths[id(other)] < DEATHS)
        return not any(self._takes(job, other) for other in others)

    def _takes(self, job: _Job, lane: Lane) -> bool:
        board = self._boards.get(lane.name)
        if board is None:
            return not job.board
        return job.board and board.serves and self._open(job, board)

    def _open(self, job: _Job, board: Board) -> bool:
        """Whether the case may go there, if the board is well."""
        return board.name not in job.sick and (job.again or board.name not in job.well)

    def _hopes(self, job: _Job) -> bool:
        """Whether a board can take the case, now or after a canary."""
        return any(
            board.patient
            and (board.due is not None or board.name not in job.sick)
            and (job.again or board.name not in job.well)
            for board in self._boards.values()
        )

    def _needs_boards(self) -> bool:
        return any(job.board and job.settled is None for job in self._jobs)

    def _tell(self) -> None:
        done = sum(job.settled is not None for job in self._jobs)
        now = [job.case.name for job in self._jobs if not job.free and job.settled is None]
        out = [board.name for board in self._boards.values() if board.due is not None]
        words = [f"{done} of {len(self._jobs)} cases"]
        words += [f"now {', '.join(now[:3])}{' ...' if len(now) > 3 else ''}"] if now else []
        words += [f"in quarantine: {', '.join(out)}"] if out else []
        self._progress("; ".join(words))

    # -- hearing of it -----------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Wait until something ends, or until a board in quarantine is to be looked at."""
        dues = [
            board.due for board in self._boards.values() if id(board.lane) not in self._busy and board.due is not None
        ]
        timeout = max(0.0, min(dues) - self._clock()) if dues and self._needs_boards() else None
        if timeout is None and not self._busy:
            return
        try:
            ended = self._ended.get(timeout=timeout)
        except queue.Empty:
            return
        self._busy.discard(id(ended.lane))
        board = self._boards.get(ended.lane.name)
        error = ended.future.exception()
        if ended.probe:
            assert board is not None
            self._probed(board, ended.job, ended.future.result() if error is None else _unprobed(error))
            return
        job = ended.job
        assert job is not None
        job.free = True
        if error is not None:
            self._died(ended.lane, job, error)
            return
        self._deaths[id(ended.lane)] = 0
        found: Measured | Failure = ended.future.result()
        if isinstance(found, Failure) and found.code in LOCKS:
            found = replace(found, board=True)
        if board is None:
            self._settle(job, found, "")
        elif isinstance(found, Failure) and found.board:
            self._failed(board, job, found, f"error[{found.code}]: {found.message}")
        elif isinstance(found, Measured) and (why := self._doubted(job, found)):
            self._failed(board, job, found, why)
        else:
            self._settle(job, found, board.name)

    def _doubted(self, job: _Job, found: Measured) -> str:
        """Why the board is not believed, "" where it is."""
        if found.mismatch:
            return f"it parts from the simulator: {found.mismatch}"
        return self._doubt(job.case, found) if job.board and len(self._boards) > 1 else ""

    def _drain(self) -> None:
        """Keep what ended while nobody listened."""
        while not self._ended.empty():
            ended = self._ended.get()
            if ended.job is None or ended.probe or ended.future.exception() is not None:
                continue
            found = ended.future.result()
            if isinstance(found, Measured) and not self._doubted(ended.job, found):
                self._settle(ended.job, found, ended.lane.name if ended.lane.board else "")

    def _settle(self, job: _Job, found: Measured | Failure, board: str, alike: bool = False) -> None:
        job.settled = Settled(job.case, found, board, tuple(job.moves), alike)
        self._keep(job.settled)

    def _died(self, lane: Lane, job: _Job, error: BaseException) -> None:
        job.deaths += 1
        self._deaths[id(lane)] += 1
        job.died_on = lane
        how = (error.message if isinstance(error, NdeployError) else str(error)) or type(error).__name__
        if job.deaths < DEATHS:
            job.moves.append(f"{how}: tried once more")
            return
        where = lane.name if lane.board else ""
        if isinstance(error, NdeployError):  # nothing died: a worker cannot measure it, and says why
            self._settle(job, Failure(error.code, error.message, error.help, error.exit_code), where)
            return
        why = f"what measured it ended {job.deaths} times, the last time so: {how}"
        remedy = "lower the case's batch or traced samples, or use fewer --workers, if memory is short"
        self._settle(job, Failure("ND667", why, remedy, 1), where)

    def _failed(self, board: Board, job: _Job, found: Measured | Failure, fault: str) -> None:
        """A board failed at a case, or shows other values than the simulator: its canary says whether it is well."""
        job.last = found, board.name
        job.attempts += 1
        job.moves.append(f"{board.name}: {fault}")
        if isinstance(found, Failure) and found.exit_code == 2:
            job.sick.add(board.name)
            board.isolate(fault, for_good=True)  # another token, no address: nothing that passes by itself
        elif isinstance(found, Failure) and found.code == BUSY:
            job.sick.add(board.name)
        else:
            job.free = False  # until the canary has sung
            board.suspect()
            self._give(board.lane, job, probe=True)

    def _probed(self, board: Board, job: _Job | None, failure: Failure | None) -> None:
        if failure is not None and failure.code == BUSY:
            failure = None
        if job is None:
            if board.looked(failure is None):
                for other in self._jobs:
                    other.sick.discard(board.name)
            return
        job.free = True
        fault = job.moves[-1].removeprefix(f"{board.name}: ")
        if failure is not None:
            job.sick.add(board.name)
            board.isolate(f"error[{failure.code}]: {failure.message}", for_good=failure.exit_code == 2)
            return
        twice = board.name in job.well
        job.well[board.name] = fault
        shared = len(job.well) > 1  # not one board's fault: the boards keep their good name
        others = [name for name in board.faults if name != job.case.name]
        if others and not shared:
            board.isolate(f"{fault}; it failed at {', '.join(others[:3])} before")
        else:
            board.clear()
            board.faults[job.case.name] = fault
        assert job.last is not None
        found = job.last[0]
        if shared:
            for other_board in self._boards.values():
                other_board.faults.pop(job.case.name, None)
            if isinstance(found, Failure):
                both = " and ".join(job.well)
                found = replace(found, message=f"{both} fail at it and are well otherwise: {found.message}")
            alike = isinstance(found, Measured) and len(set(job.well.values())) == 1
            self._settle(job, found, board.name, alike)
        elif twice:
            self._settle(job, found, board.name)

    def _give_up(self) -> None:
        """Settle what no board can take any more, after a second try on a board that was well."""
        most = len(self._boards) + MORE_ATTEMPTS
        for job in self._jobs:
            if not job.board or not job.waits:
                continue
            if job.attempts < most and self._hopes(job):
                continue
            if job.attempts < most and job.well and not job.again:
                job.again = True
                if self._hopes(job):
                    continue
            self._settle(job, self._hopeless(job), "" if job.last is None else job.last[1])

    def _hopeless(self, job: _Job) -> Measured | Failure:
        if job.last is None:
            faults = "; ".join(f"{board.name}: {board.fault}" for board in self._boards.values())
            return Failure("ND666", f"no board is left for it: {faults}", "look at the boards", 3, board=True)
        found, board = job.last
        if isinstance(found, Failure) and found.exit_code != 2 and self._boards[board].fault:
            return replace(found, exit_code=3)  # the board is at fault whatever the case asked of it
        return found


def _unprobed(error: BaseException) -> Failure:
    return Failure("ND667", f"what ran the canary ended: {error}", "look at the board's command", 3, board=True)
