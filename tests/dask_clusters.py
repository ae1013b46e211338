"""Dask clusters on 127.0.0.1 with boards: a scheduler, and workers that are processes started as a user starts them."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from boards import TOKEN

from ndeploy.board.desk import Terms
from ndeploy.board.software import SoftwareBoard
from ndeploy.ir.result import RunResult
from ndeploy.runners import BUILT_IN

MARK = "NDEPLOY_TEST_CLUSTER"
"""Environment variable that everything started by these tests inherits, and nothing else on the machine has."""
os.environ[MARK] = secrets.token_hex(8)
TERMS = Terms(idle=5.0, longest=60.0, run=60.0, waiting=4, beat=0.05)


class GatedBoard(SoftwareBoard):
    """A board that computes at once while its gate is open, and for ever, until it is aborted, while it is closed."""

    def __init__(self) -> None:
        super().__init__(self._gated, "gated")
        self.gate, self.inside, self.aborted = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()

    def _gated(self, *given: Any, **options: Any) -> RunResult:
        self.inside.set()
        while not self.gate.wait(0.01) and not self.aborted.is_set():
            pass
        return BUILT_IN["oracle"](*given, **options)

    def abort(self) -> None:
        self.aborted.set()

    def reset(self) -> None:
        super().reset()
        self.aborted.clear()
        self.inside.clear()


@contextlib.contextmanager
def worker(address: str, name: str, *options: str, board: str = "", threads: int = 1) -> Iterator[psutil.Process]:
    """`dask worker`, with a board where one is named. Ends with all that it started."""
    environment = {key: value for key, value in os.environ.items() if key != "NDEPLOY_BOARD"}
    words = ["--name", name, "--nthreads", str(threads), "--host", "127.0.0.1", "--no-dashboard", *options]
    if board:
        environment |= {"NDEPLOY_BOARD": board, "NDEPLOY_BOARD_TOKEN": TOKEN}
        words += ["--resources", "board=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", "worker", address, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        nanny = psutil.Process(process.pid)
        family = [nanny, *nanny.children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.Error):
                if "resource_tracker" not in " ".join(each.cmdline()):  # that ends by itself, and removes semaphores
                    each.kill()
        process.wait()
        assert not psutil.wait_procs(family, 10.0)[1]


def eventually(there: Callable[[], Any], seconds: float = 10.0) -> float:
    """Seconds until it is so. Raises AssertionError where it does not come to be."""
    began = time.monotonic()
    while not there():
        assert time.monotonic() - began < seconds, "it did not come to be"
        time.sleep(0.02)
    return time.monotonic() - began


def measurers() -> dict[int, psutil.Process]:
    """Processes in which workers measure cases, by id."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or somebody else's
            words = process.cmdline()
            ours = "dask_worker import child" in " ".join(words[2:3])
            if ours and process.environ().get(MARK) == os.environ[MARK]:
                found[process.pid] = process
    return found
