"""Lanes whose answers a test decides, and measurements without meaning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndeploy.errors import NdeployError
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import WorkerDiedError
from ndeploy.suite.measured import Failure, Measured

GOOD = Measured({}, {}, {}, {}, {}, {}, (), 1)
FAULT = Failure("ND630", "the board reports a fault", "look", 3, board=True)
BUSY = Failure("ND623", "the board is busy", "wait", 3, board=True)
TOKEN = Failure("ND622", "another token", "set it", 2, board=True)
DEAD = WorkerDiedError("the process of it was killed by SIGKILL")
Answer = Measured | Failure | WorkerDiedError | NdeployError


def apart(where: str) -> Measured:
    """A measurement that differs from the simulator's there."""
    return replace(GOOD, mismatch=where)


def cases(*names: str, runner: str = "board") -> tuple[Case, ...]:
    return tuple(Case(name, Path("x.npz"), artifact=Path("x.ndp"), runner=runner) for name in names)


class FakeLane:
    """answer: of a case; canary: of every probe. Each answers from a thread of its own, in `seconds`."""

    def __init__(
        self,
        name: str,
        answer: Callable[[str], Answer] = lambda case: GOOD,
        canary: Callable[[], Failure | None] = lambda: None,
        board: bool = True,
        seconds: float = 0.0,
    ) -> None:
        self.name, self.board = name, board
        self._answer, self._canary, self._seconds = answer, canary, seconds
        self._wake = threading.Event()
        self.ran: list[str] = []
        self.probes = 0
        self.busy = self.most = 0

    def submit(self, case: Case) -> Future[Measured | Failure]:
        self.ran.append(case.name)
        return self._later(lambda: self._answer(case.name))

    def probe(self) -> Future[Failure | None]:
        self.probes += 1
        return self._later(self._canary)

    def close(self) -> None:
        self._wake.set()

    def _later(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.busy += 1
        self.most = max(self.most, self.busy)

        def run() -> None:
            self._wake.wait(self._seconds)
            found = work()
            self.busy -= 1
            if isinstance(found, BaseException):
                future.set_exception(found)
            else:
                future.set_result(found)

        threading.Thread(target=run, daemon=True).start()
        return future


def turns(*answers: Any) -> Callable[..., Any]:
    """Each call gives the next, and the last for ever."""
    left = list(answers)
    lock = threading.Lock()

    def give(*asked: object) -> Any:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return give


def deaf(context: object, path: str) -> None:
    """The work of a process that hears no SIGTERM, and has started another: its id lies in the file then."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    words = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(120)"]
    started = subprocess.Popen(words, start_new_session=True)
    Path(path).write_text(f"{started.pid} {os.getpid()}")
    time.sleep(120)
