"""Lanes on a dask cluster: `--workers dask://HOST:PORT`.

A worker with a board says so by its resource (`dask worker ... --resources "board=1"`) and has the board's address in
its own NDEPLOY_BOARD. Every task on it takes that resource, so that two suites on one cluster never use a board at
once. All tasks are bound to one worker: dask would run again elsewhere, unseen, what a worker died of.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import pickle
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import ndeploy
from ndeploy.errors import NdeployError, RunnerError, UnreachableError, UsageError
from ndeploy.runners import RunnerOptions
from ndeploy.search.cluster import PATIENCE, connect, first_line, wait_for_workers
from ndeploy.search.workers import Outcome, sent
from ndeploy.suite import dask_worker
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case
from ndeploy.suite.dask_worker import About
from ndeploy.suite.lanes import CLOSING_SECONDS, Lane, WorkerDiedError, telling
from ndeploy.suite.measure import Context, digests
from ndeploy.suite.measured import FILES, Failure, Measured

RESOURCE = "board"
"""What a worker has one of where it has a board."""
RETURN = 6.0
"""Seconds that a lane waits for a worker of its own in place of one that was lost: a nanny starts one anew."""
_GLANCE = 1.0
"""Seconds between two looks at which workers there are."""
_PLAIN = RunnerOptions()
R = TypeVar("R")


@dataclass(frozen=True)
class _Worker:
    """As the scheduler knows it. threads: cases at once, those on its board apart; boards: of `RESOURCE`."""

    address: str
    label: str
    host: str
    threads: int
    boards: float

    @property
    def board(self) -> bool:
        return self.boards > 0

    @property
    def plain(self) -> int:
        """Cases without boards that it measures at once: one of its threads is its board's."""
        return max(0, self.threads - (1 if self.board else 0))


def lanes(address: str, context: Context, cases: Sequence[Case] = ()) -> tuple[Lane, ...]:
    """A lane for every thread of the cluster's workers, and one for every board.

    address: of the scheduler, dask://, tcp:// or tls://HOST:PORT. context: boards that its bench names are not for the
    cluster, which then gives none. cases: what is to be measured, to say at once what is lacking. Raises UsageError
    ND611, UnreachableError ND612, RunnerError ND613 as `search.cluster`; UnreachableError ND670 where a kind of worker
    is lacking; RunnerError ND671 where a worker has another ndeploy; UsageError ND672 where it has not the cases'
    files, ND673 where one with a board has not exactly one of its own.
    """
    boards = context.bench.options.board is None
    cluster = _Cluster(address, context, files_of(cases))
    try:
        workers = cluster.first_workers()
        plain = [_DaskLane(cluster, worker, False) for worker in workers for _ in range(worker.plain)]
        found = (*plain, *(_DaskLane(cluster, worker, True) for worker in workers if worker.board and boards))
        for board in (False, True):
            lacking = [case.name for case in cases if (case.runner in BOARDS) is board and (boards or not board)]
            if lacking and not any(lane.board is board for lane in found):
                raise cluster.lacking(board, lacking)
    except BaseException:
        cluster.close()
        raise
    cluster.lanes.update(found)
    return found


class _Cluster:
    """What the lanes of one scheduler share."""

    def __init__(self, address: str, context: Context, files: Sequence[str]) -> None:
        self.address = f"tcp://{address.removeprefix('dask://')}" if address.startswith("dask://") else address
        self.context = telling(context, _PLAIN.progress)
        sent(self.context)  # refused now, not by every case
        self._files = tuple(files)
        self.lanes: set[_DaskLane] = set()
        self.boards: dict[str, str] = {}
        self._lock, self._placing = threading.Lock(), threading.Lock()
        self._seen: tuple[float, tuple[_Worker, ...]] = (-_GLANCE, ())
        self._known: set[str] = set()
        self._gone = False
        self.client = connect(self.address)

    def close(self) -> None:
        """Leave the cluster; what it still has to do for this client is cancelled."""
        with contextlib.suppress(Exception):  # a scheduler that is gone has nothing to be told
            self.client.close(timeout=CLOSING_SECONDS)

    def leave(self, lane: _DaskLane) -> None:
        """The last one closes the connection."""
        with self._lock:
            last = lane in self.lanes and len(self.lanes) == 1
            self.lanes.discard(lane)
        if last:
            self.close()

    def first_workers(self) -> tuple[_Worker, ...]:
        """All workers there are, checked."""
        wait_for_workers(self.client, self.address)
        workers = self.workers()
        self.check(workers)
        return workers

    def workers(self) -> tuple[_Worker, ...]:
        """Those there were a moment ago at the latest, in an order that stays. Raises WorkerDiedError."""
        with self._lock:
            when, found = self._seen
            if time.monotonic() - when < _GLANCE:
                return found
            gone = f"the dask scheduler at {self.address} is gone"
            if self._gone:
                raise WorkerDiedError(gone)
            try:
                told = _within(PATIENCE, lambda: self.client.scheduler_info(n_workers=-1)).get("workers")
            except Exception as error:
                raise WorkerDiedError(f"{gone}: {first_line(error)}") from error
            if told is None:  # what a client says that has lost its connection, and did not get another in time
                self._gone = True
                raise WorkerDiedError(gone)
            found = tuple(sorted((_worker(at, of) for at, of in told.items()), key=lambda w: (w.label, w.address)))
            self._seen = time.monotonic(), found
            return found

    def check(self, workers: Sequence[_Worker]) -> None:
        """That they run this ndeploy, see the files, and have a board of their own if any. Raises as `lanes` does."""
        new = [worker for worker in workers if worker.address not in self._known]
        if not new:
            return
        addresses = [worker.address for worker in new]
        try:
            ask = functools.partial(self.client.run, dask_worker.about, self._files, workers=addresses)
            told: dict[str, About] = _within(PATIENCE * 3, ask)
        except Exception as error:
            raise RunnerError(
                "ND671",
                f"the workers of {self.address} cannot run ndeploy: {first_line(error)}",
                help=f"install ndeploy {ndeploy.__version__} where the workers run, and restart them",
            ) from error
        here = dask_worker.about(self._files)
        for worker in new:
            there = told[worker.address]
            if (there.ndeploy, there.code) != (here.ndeploy, here.code):
                other = "other files" if there.ndeploy == here.ndeploy else f"version {there.ndeploy}"
                raise RunnerError(
                    "ND671",
                    f"dask worker {worker.label} has {other} of ndeploy than this machine, which has {here.ndeploy}",
                    help="install the same ndeploy everywhere: what is tested would be another toolchain",
                )
            for path, size, wanted in zip(self._files, there.sizes, here.sizes, strict=True):
                if size != wanted:
                    raise _unseen(worker, "does not see" if size < 0 else "sees another file at", path)
        alive = {worker.address: worker for worker in (*self.workers(), *new)}
        boards = self.boards | {worker.address: told[worker.address].board for worker in new if worker.board}
        boards = {at: url for at, url in boards.items() if at in alive}
        for worker in new:
            _check_board(worker, boards, alive)
        self.boards = boards
        self._known.update(addresses)

    def place(self, lane: _DaskLane, stop: threading.Event) -> None:
        """Give the lane another worker where its own was lost. Raises WorkerDiedError where none comes."""
        deadline = time.monotonic() + RETURN
        unfit = ""
        while not stop.is_set():
            with self._placing:
                alive = [w for w in self.workers() if (w.board if lane.board else w.plain > 0)]
                if any(worker.address == lane.worker.address for worker in alive):
                    return
                late = time.monotonic() >= deadline
                for worker in self._others(lane, alive, late):
                    try:
                        self.check([worker])
                    except NdeployError as error:
                        unfit = f"; {error.message}"
                        continue
                    if not lane.board or _same(worker, self.boards[worker.address], lane.worker, lane.url):
                        lane.worker = worker
                        return
            if late:
                break
            stop.wait(_GLANCE / 4)
        raise WorkerDiedError(f"{lane.name} is gone, and no other has come in its place{unfit}")

    def _others(self, lane: _DaskLane, alive: Sequence[_Worker], late: bool) -> list[_Worker]:
        """Those that no lane has, the best first. late: else those of others: the scheduler makes one case wait for
        another. A board has one lane, whatever happens."""
        taken = Counter(other.worker.address for other in self.lanes if other.board is lane.board)
        free = [w for w in alive if taken[w.address] < (1 if lane.board else w.plain)]
        old = lane.worker

        def unlike(worker: _Worker) -> tuple[bool, bool, int, str]:
            return worker.label != old.label, worker.host != old.host, taken[worker.address], worker.address

        return sorted(free or (alive if late and not lane.board else ()), key=unlike)

    def lacking(self, board: bool, cases: Sequence[str]) -> NdeployError:
        some = f"{len(cases)} of the suite's cases: {', '.join(cases[:3])}{', ...' if len(cases) > 3 else ''}"
        if board:
            why = f"no worker of {self.address} has a board for {some}"
            start = f'NDEPLOY_BOARD=tcp://HOST:PORT dask worker {self.address} --nthreads 1 --resources "{RESOURCE}=1"'
        else:
            why = f"every worker of {self.address} has a board and one thread, and none is left for {some}"
            start = f"dask worker {self.address}"
        return UnreachableError("ND670", why, help=f"start one: {start} (docs/clusters.md)")


class _DaskLane:
    """A thread of a worker, or its board. name: as it was when the lane was made; url: address of the board."""

    def __init__(self, cluster: _Cluster, worker: _Worker, board: bool) -> None:
        self._cluster = cluster
        self.worker = worker
        self.board = board
        self.url = cluster.boards[worker.address] if board else ""
        self.name = f"dask worker {worker.label}" + (f" with {self.url}" if board else "")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, case: Case) -> Future[Measured | Failure]:
        """Besides a measurement and `WorkerDiedError`: UsageError ND672 where the worker has not the case's files."""
        there = replace(case, **{name: path.absolute() for name in FILES if (path := getattr(case, name)) is not None})

        def work() -> Measured | Failure:
            wanted: dict[str, str] = {}
            with contextlib.suppress(OSError):  # what a machine does not have it cannot compare
                wanted = digests(there)
            found = self._ask(dask_worker.measured, there)
            if isinstance(found, tuple):
                raise _unseen(self.worker, "does not see", found[0])
            for name, digest in wanted.items():
                if isinstance(found, Measured) and found.identity.get(name) != digest:
                    raise _unseen(self.worker, "sees another file at", str(getattr(there, name)))
            return found

        return self._started(work)

    def probe(self) -> Future[Failure | None]:
        return self._started(lambda: self._ask(dask_worker.probed, None))

    def close(self) -> None:
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(CLOSING_SECONDS)
        self._cluster.leave(self)

    def _started(self, work: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                found = work()
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(found)

        self._thread = threading.Thread(target=run, name="dask lane", daemon=True)
        self._thread.start()
        return future

    def _ask(self, function: Callable[[Any, Any], R], task: object) -> R:
        """The function's value for the cluster's context and the task, from a process of the lane's worker."""
        self._cluster.place(self, self._stop)
        job = pickle.dumps((function, self._cluster.context, task), protocol=5)
        try:
            ended = self._ended(job)
        except WorkerDiedError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise WorkerDiedError(f"{self.name} failed: {first_line(error)}") from error
        if not ended.answer:
            raise WorkerDiedError(f"{self.name}: {ended.how or 'the task was cancelled'}")
        outcome: Outcome = pickle.loads(ended.answer)  # from workers that the user named; dask itself speaks pickle
        if outcome.error is not None:
            raise WorkerDiedError(f"{self.name} failed: {first_line(outcome.error)}") from outcome.error
        value: R = outcome.value
        return value

    def _ended(self, job: bytes) -> dask_worker.Ended:
        """What came of the job. Its task is cancelled where the lane closes or the worker is lost."""
        ended = threading.Event()
        task = self._cluster.client.submit(
            dask_worker.perform,
            job,
            key=f"ndeploy-test-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            workers=[self.worker.address],
            allow_other_workers=False,
            resources={RESOURCE: 1} if self.board else None,
        )
        task.add_done_callback(lambda _: ended.set())
        try:
            for look in itertools.count(1):
                if ended.wait(_GLANCE / 10):
                    break
                if self._stop.is_set():
                    raise WorkerDiedError(f"{self.name} was left")
                if look % 10 == 0 and self.worker.address not in {w.address for w in self._cluster.workers()}:
                    raise WorkerDiedError(f"{self.name} is gone")
            found: dask_worker.Ended = task.result(timeout=PATIENCE)
            return found
        finally:
            if not task.done():
                with contextlib.suppress(Exception):  # nothing to cancel where the scheduler is gone
                    self._cluster.client.cancel([task])


def files_of(cases: Sequence[Case]) -> list[str]:
    """All that the cases read, as whole paths."""
    paths = (getattr(case, name) for case in cases for name in FILES)
    return sorted({str(path.absolute()) for path in paths if path is not None})


def _worker(address: str, told: dict[str, Any]) -> _Worker:
    name, boards = told.get("name"), told.get("resources", {}).get(RESOURCE, 0)
    label = address if name in (None, "", address) else f"{name} ({address})"
    return _Worker(address, label, str(told.get("host", "")), int(told.get("nthreads", 1)), float(boards))


def _check_board(worker: _Worker, boards: dict[str, str], alive: dict[str, _Worker]) -> None:
    """Raises UsageError ND673."""
    if not worker.board:
        return
    url, start = boards[worker.address], "start one worker process for each board, with that board's NDEPLOY_BOARD"
    if worker.boards != 1:
        why = f"{worker.label} has the resource {RESOURCE}={worker.boards:g}"
    elif not url:
        why = f'{worker.label} has the resource "{RESOURCE}=1", but NDEPLOY_BOARD is not set there'
    elif other := next((at for at in boards if at != worker.address and _same(worker, url, alive[at], boards[at])), ""):
        why = f"{worker.label} and {alive[other].label} have one and the same board, {url}"
    else:
        return
    raise UsageError("ND673", why, help=f'{start} and --nthreads 1 --resources "{RESOURCE}=1"')


def _same(worker: _Worker, url: str, other: _Worker, its: str) -> bool:
    """Commands, and addresses of the loopback device, are boards of their machine."""
    local = url.startswith("exec:") or "//127." in url or "//localhost" in url or "//[::1]" in url
    return url == its and (not local or worker.host == other.host)


def _unseen(worker: _Worker, verb: str, path: str) -> UsageError:
    return UsageError(
        "ND672",
        f"dask worker {worker.label} {verb} {path}",
        help="workers read the suite's files themselves: share the folder between all machines, at one path",
    )


def _within(seconds: float, work: Callable[[], R]) -> R:
    """What the work gives, in a thread that is left behind where it takes longer. Raises TimeoutError."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="dask call", daemon=True).start()
    return future.result(timeout=seconds)
