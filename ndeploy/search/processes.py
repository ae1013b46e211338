"""Local worker processes of a search.

They are spawned, not forked: a process with threads of torch or numba cannot be forked safely. None outlives its
parent: closing ends them, and each watches for its parent's end, however that comes about.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ndeploy.errors import RunnerError
from ndeploy.search.workers import Outcome, Outcomes, Pool, measure, packed, sent

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What the libraries read as they are loaded, in the worker's first moments."""
PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""
_LOADING = -1


@dataclass(frozen=True, eq=False)
class _Worker:
    number: int
    process: BaseProcess
    connection: Connection


class Processes(Pool):
    """A number of local processes with one thread each, started with the first tasks."""

    def __init__(self, context: object, width: int) -> None:
        super().__init__(None)
        self.width = width
        self._payload = sent(context)
        self._workers: list[_Worker] = []

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.process.close()

    def _outcomes(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Outcomes:
        busy: dict[Connection, tuple[_Worker, int]] = {}
        left = iter(range(len(tasks)))
        end = len(tasks)

        def give(worker: _Worker) -> None:
            index = next(left, end)
            if index < end:
                data = pickle.dumps((function, tasks[index]))
                busy[worker.connection] = worker, index
                try:
                    worker.connection.send((index, data))
                except OSError as error:
                    raise _died(worker, repr(tasks[index])) from error

        try:
            if not self._workers and tasks:
                self._start()
            for worker in self._workers:
                give(worker)
            while busy:
                ready = wait(list(busy))
                for connection in [c for c in busy if c in ready]:
                    worker, expected = busy.pop(connection)
                    try:
                        index, data = worker.connection.recv()
                    except (EOFError, OSError) as error:
                        raise _died(worker, repr(tasks[expected])) from error
                    outcome: Outcome = pickle.loads(data)
                    if index == _LOADING:
                        raise _not_loaded(outcome)
                    if outcome.error is not None:
                        end = min(end, index)  # what comes after the first failure is of no use
                    give(worker)
                    yield index, outcome
        except BaseException as error:
            # between tasks the processes may stay for the next ones; with one under way, or without a word, they end
            if busy or not isinstance(error, GeneratorExit):
                self.close()
            raise

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        try:
            with for_workers():
                for number in range(1, self.width + 1):
                    here, there = context.Pipe()
                    process = context.Process(target=_serve, args=(there,), name=f"worker {number}", daemon=True)
                    process.start()
                    there.close()
                    self._workers.append(_Worker(number, process, here))
        except OSError as error:
            raise RunnerError(
                "ND613",
                f"worker {len(self._workers) + 1} of {self.width} cannot be started: {error.strerror or error}",
                help="search with fewer --workers",
            ) from error
        for worker in self._workers:
            try:
                worker.connection.send_bytes(self._payload)
            except OSError as error:
                raise _died(worker, "its context") from error


@contextmanager
def for_workers() -> Iterator[None]:
    """What processes started meanwhile inherit: one thread for every library, and no Ctrl-C, which is for the parent,
    who ends them."""
    resource_tracker.ensure_running()  # started with the first process, it would let signals through again
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection) -> None:
    """A worker's life: the context, then tasks until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        try:
            context = pickle.loads(connection.recv_bytes())
        except Exception as error:
            connection.send((_LOADING, packed(_failure(error))))
            return
        while True:
            index, data = connection.recv()
            try:
                function, task = pickle.loads(data)
            except Exception as error:
                outcome = _failure(error)
            else:
                outcome = measure(function, context, task, 1)
            connection.send((index, packed(outcome)))
    except (EOFError, OSError):
        return  # the parent closed its end


def end_with_parent() -> None:
    """End this process when its parent ends: the work of a thread."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _failure(error: Exception) -> Outcome:
    return Outcome(error=error, trace=traceback.format_exc())


def _died(worker: _Worker, doing: str) -> RunnerError:
    worker.process.join(PATIENCE)
    code = worker.process.exitcode
    how = f"ended with exit code {code}"
    if code is None:
        how = "closed its connection"
    elif code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    return RunnerError(
        "ND613",
        f"worker {worker.number} (process {worker.process.pid}) {how} at {doing[:120]}",
        help="search with fewer --workers if memory is short; what was measured is in the journal, if there is one",
    )


def _not_loaded(outcome: Outcome) -> RunnerError:
    error = outcome.error
    return RunnerError(
        "ND613",
        f"a worker cannot load what it is to measure: {type(error).__name__}: {error}",
        help="search with --workers 1",
    )
