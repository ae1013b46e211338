"""Where the measurements of a search run: in this process, in local processes, or on a dask cluster.

Which it is never changes a result: tasks are independent, their results come back in the order of the tasks, an error
is that of the first task that fails, and torch keeps to one thread everywhere, so that it sums in the same order.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ndeploy.errors import RunnerError, UsageError
from ndeploy.torch_threads import one_thread

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]
"""Called with the tasks that are done and all that there are."""

MOST_PROCESSES = 256
_threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a value, or the error it raised and where, as text."""

    value: Any = None
    error: Exception | None = None
    trace: str = ""


Outcomes = Generator[tuple[int, Outcome], None, None]
"""Outcomes by the task's index, in any order."""


def pool(text: str, context: object) -> Pool:
    """Workers as a user names them, with the context that they all work on.

    text: "1" for this process, a number of local processes, or the address of a dask scheduler, tcp://host:port or
    tls://host:port. context: can be pickled; it is sent once to every worker. Raises UsageError ND610 for any other
    text, ND611 where dask is missing, UnreachableError ND612 where no scheduler answers, RunnerError ND613 where the
    context cannot be sent.
    """
    if re.fullmatch(r"[0-9]{1,9}", text) and 1 <= int(text) <= MOST_PROCESSES:
        if int(text) == 1:
            return Pool(context)
        from ndeploy.search.processes import Processes

        return Processes(context, int(text))
    if _is_address(text):
        from ndeploy.search.cluster import Cluster

        return Cluster(context, text)
    raise UsageError(
        "ND610",
        f"'{text}' is neither a number of workers (1 to {MOST_PROCESSES}) nor the address of a dask scheduler",
        help="give --workers N, or --workers tcp://host:port (tls://, and dask:// for a suite) for a cluster",
    )


def threads() -> int | None:
    """Threads that a function run by a pool should use: those of its worker, None for all of the machine's."""
    return _threads


class Pool:
    """Runs functions of (context, task), this one in the process that it is made in.

    width: tasks that run at once. notes: what the user should know of it, one sentence each. A context manager:
    leaving it ends its processes and connections.
    """

    width = 1
    notes: tuple[str, ...] = ()

    def __init__(self, context: object) -> None:
        self._context = context

    def map(
        self, function: Callable[[Any, T], R], tasks: Sequence[T], progress: Progress = lambda done, of: None
    ) -> Iterator[R]:
        """Results of function(context, task) in the order of the tasks, each as soon as it and all before it are done.

        function: of a module, so that other processes can import it; task and result: can be pickled. Nothing runs
        before the first result is asked for; leaving the iterator early stops what still runs. Raises what the first
        task that fails raises, RunnerError ND613 when a worker dies.
        """
        results = self._outcomes(function, list(tasks))
        waiting: dict[int, Outcome] = {}
        done = following = 0
        with contextlib.closing(results):
            for index, outcome in results:
                waiting[index] = outcome
                if outcome.error is None:
                    done += 1
                    progress(done, len(tasks))
                while following in waiting:
                    yield _value(waiting.pop(following))
                    following += 1

    def close(self) -> None:
        """End what was started. More than once does no harm."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _outcomes(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Outcomes:
        for index, task in enumerate(tasks):
            with one_thread():
                outcome = measure(function, self._context, task, None)
            yield index, outcome


def measure(function: Callable[[Any, Any], Any], context: object, task: object, cores: int | None) -> Outcome:
    """Run one task. cores: what `threads` answers meanwhile."""
    global _threads
    before, _threads = _threads, cores
    try:
        return Outcome(function(context, task))
    except Exception as error:  # kept until it is this task's turn
        return Outcome(error=error, trace=traceback.format_exc())
    finally:
        _threads = before


def packed(outcome: Outcome) -> bytes:
    """An outcome for another process. An error that cannot be sent becomes a RuntimeError with its text."""
    if outcome.error is None:
        try:
            return pickle.dumps(outcome)
        except Exception as error:
            outcome = Outcome(error=TypeError(f"the result cannot be sent: {error}"), trace=traceback.format_exc())
    try:
        data = pickle.dumps(outcome)
        pickle.loads(data)
    except Exception:
        text = f"{type(outcome.error).__name__}: {outcome.error}"
        data = pickle.dumps(Outcome(error=RuntimeError(text), trace=outcome.trace))
    return data


def sent(context: object) -> bytes:
    """The context for other processes. Raises RunnerError ND613 if it cannot be pickled."""
    try:
        return pickle.dumps(context, protocol=5)
    except Exception as error:
        raise RunnerError(
            "ND613",
            f"what is measured cannot be sent to other processes: {type(error).__name__}: {error}",
            help="search with --workers 1",
        ) from error


class _InWorkerError(Exception):
    """Where a worker raised an error, shown as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _value(outcome: Outcome) -> Any:
    if outcome.error is None:
        return outcome.value
    if outcome.error.__traceback__ is None:
        raise outcome.error from _InWorkerError(outcome.trace)
    raise outcome.error


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port) and not parts.path
    except ValueError:  # a port that is no number, or beyond 65535
        return False
