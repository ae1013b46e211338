"""Where the cases of a suite are measured: lanes, each of which measures one case at a time.

This module has what every kind of lane is, and those of this machine; `dask_lanes` has those of a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol, TypeVar

from ndeploy.suite.bench import Bench
from ndeploy.suite.case import Case
from ndeploy.suite.measure import Context, measure
from ndeploy.suite.measured import Failure, Measured
from ndeploy.torch_threads import one_thread

R = TypeVar("R")
Progress = Callable[[str], None]
CLOSING_SECONDS = 2.0
"""All lanes are closed within this time, whatever they are doing."""


class Lane(Protocol):
    """Measures one case at a time somewhere.

    name: as the user knows it. board: it has a board, so that it measures the cases of runners in `bench.BOARDS`, and
    nothing else.
    """

    @property
    def name(self) -> str: ...

    @property
    def board(self) -> bool: ...

    def submit(self, case: Case) -> Future[Measured | Failure]:
        """Measure a case; one at a time. The future's exception is `WorkerDiedError` where the worker died."""
        ...

    def probe(self) -> Future[Failure | None]:
        """Run the canary (`ndeploy.suite.canary`) on the lane's board: None where the board computes it right."""
        ...

    def close(self) -> None:
        """End what was started and give back what was leased, also while something runs. May be called twice."""
        ...


class WorkerDiedError(Exception):
    """The process that measured a case ended. str(): what ended and how, "process 2 was killed by SIGKILL"."""


class Here:
    """A lane in this process: `submit` and `probe` return when the work is done."""

    def __init__(self, context: Context, board: bool = False, name: str = "this process") -> None:
        self._context = context
        self.board = board
        self.name = name

    def submit(self, case: Case) -> Future[Measured | Failure]:
        with one_thread():
            return _done(measure(self._context, case))

    def probe(self) -> Future[Failure | None]:
        from ndeploy.suite.canary import probe

        return _done(probe(self._context))

    def close(self) -> None:
        """There is nothing to end."""


def on_board(context: Context, url: str) -> Context:
    """The context of a lane that has this board."""
    return replace(context, bench=Bench(replace(context.bench.options, board=url)))


def telling(context: Context, progress: Progress) -> Context:
    """The context with another listener to what its runners say: a process has its own."""
    return replace(context, bench=Bench(replace(context.bench.options, progress=progress)))


def close_all(lanes: Sequence[Lane]) -> None:
    """Close all lanes at once."""
    closing = [threading.Thread(target=lane.close, name="closing a lane", daemon=True) for lane in lanes]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(CLOSING_SECONDS)


def _done(value: R) -> Future[R]:
    future: Future[R] = Future()
    future.set_result(value)
    return future
