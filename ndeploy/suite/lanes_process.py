"""A lane that is a process of its own: it may be killed, run out of memory or crash, and the suite goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NoReturn

from ndeploy.search.processes import for_workers
from ndeploy.search.workers import Outcome, packed, sent
from ndeploy.search.workers import measure as attempt
from ndeploy.suite import canary
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Progress, WorkerDiedError, telling
from ndeploy.suite.lock import with_environment
from ndeploy.suite.measure import Context, measure
from ndeploy.suite.measured import Failure, Measured

GRACE = 1.2
"""Seconds that a process has to give back what it leased, before it is killed."""
MARK = "NDEPLOY_LANE"
"""Environment variable by which what a process started is found when it was killed itself."""
_starting = threading.Lock()
"""Starting a process changes the environment of this one for a moment."""


@dataclass(frozen=True, eq=False)
class _Task:
    function: Callable[[Context, Any], Any]
    argument: Any
    future: Future[Any]


class ProcessLane:
    """Starts its process with the first task, and anew after it died. progress: told what its runners say, by the
    lane's thread."""

    def __init__(
        self, context: Context, name: str, board: bool = False, progress: Progress = lambda line: None
    ) -> None:
        self.name = name
        self.board = board
        self._payload = sent(context)
        self._progress = progress
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._mark = secrets.token_hex(16)

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def submit(self, case: Case) -> Future[Measured | Failure]:
        return self._give(measure, case)

    def probe(self) -> Future[Failure | None]:
        return self._give(_probe, None)

    def close(self) -> None:
        with self._lock:
            closed, self._closed = self._closed, True
            thread = self._thread
            if not closed:
                self._tasks.put(None)
                if self._process is not None:
                    self._process.terminate()
        if thread is None:
            return
        thread.join(GRACE)
        if thread.is_alive():
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            thread.join()

    def _give(self, function: Callable[[Context, Any], Any], argument: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(WorkerDiedError(f"{self.name} is closed"))
                return future
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name=f"lane {self.name}", daemon=True)
                self._thread.start()
            self._tasks.put(_Task(function, argument, future))
        return future

    # -- the lane's thread: it alone starts the process, hears it and waits for its end --------------------------------

    def _live(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                try:
                    outcome = self._answer(task)
                except Exception as error:  # the process died, or cannot be started
                    self._end()
                    task.future.set_exception(error)
                    continue
                if outcome.error is None:
                    task.future.set_result(outcome.value)
                else:
                    task.future.set_exception(outcome.error)
        finally:
            self._end()
            with contextlib.suppress(queue.Empty):
                while (left := self._tasks.get_nowait()) is not None:
                    left.future.set_exception(WorkerDiedError(f"{self.name} is closed"))

    def _answer(self, task: _Task) -> Outcome:
        """Raises WorkerDiedError."""
        try:
            if self._connection is None:
                self._start()
            connection = self._connection
            assert connection is not None
            connection.send_bytes(pickle.dumps((task.function, task.argument)))
            while True:
                kind, value = connection.recv()
                if kind == "says":
                    self._progress(f"{self.name}: {value}")
                else:
                    # of a process that this one started
                    outcome: Outcome = pickle.loads(value)
                    return outcome
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise WorkerDiedError(self._how()) from error

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        with self._lock:
            if self._closed:
                raise WorkerDiedError(f"{self.name} is closed")
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, self._mark), name=self.name, daemon=True)
            try:
                with _starting, for_workers():
                    process.start()
            except OSError as error:
                here.close()
                raise WorkerDiedError(f"the process of {self.name} cannot be started: {error}") from error
            finally:
                there.close()
            self._process, self._connection = process, here
        here.send_bytes(self._payload)

    def _how(self) -> str:
        process = self._process
        if process is None:
            return f"the process of {self.name} did not start"
        process.join(GRACE)
        code = process.exitcode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return f"the process of {self.name} ({process.pid}) {how}"

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.terminate()
            process.join(GRACE)
            if process.exitcode is None:
                process.kill()
                process.join()
            clean = process.exitcode >= 0 if process.exitcode is not None else False
            process.close()
            if not clean:
                end_orphans(self._mark)


def end_orphans(mark: str) -> None:
    """End what a killed process has started: a board's command. Without /proc, that ends when its stdin closes."""
    deadline = time.monotonic() + GRACE
    number = signal.SIGTERM
    while left := with_environment(MARK, mark):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if number is signal.SIGKILL and time.monotonic() > deadline + GRACE:
            return  # it cannot be killed: the system is writing its memory, or it is no process of ours
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.02)


# -- in the process ----------------------------------------------------------------------------------------------------


def _probe(context: Context, nothing: None) -> Failure | None:
    return canary.probe(context)


def _serve(connection: Connection, mark: str) -> None:
    """The process's life: the context, then tasks until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent, who ends this process
    signal.signal(signal.SIGTERM, _leave)
    os.environ[MARK] = mark
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one = threading.Lock()

    def say(line: str) -> None:
        with one, contextlib.suppress(OSError):
            connection.send(("says", line[:1000]))

    try:
        context = telling(pickle.loads(connection.recv_bytes()), say)
        while True:
            function, argument = pickle.loads(connection.recv_bytes())
            outcome = packed(attempt(function, context, argument, 1))
            with one:
                connection.send(("done", outcome))
    except (EOFError, OSError, SystemExit):
        pass  # the parent closed its end, or asked to leave
    finally:
        os._exit(0)  # what was leased is given back by now; the libraries' own ends take longer than the grace


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # an exception, so that leases are given back and commands ended on the way out
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)
