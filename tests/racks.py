"""Racks of boards on this machine, suites for them, and what they must leave behind: nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boards
from small_artifact import write

from ndeploy.board.device import Device
from ndeploy.board.faults import FaultyBoard, plan
from ndeploy.suite.case import Suite
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import SuiteResult

HEAD = """schema = "ndeploy.suite/1"
[defaults]
traced = 5
tolerances = { speed = 100 }
"""
TIMES = ("speed", "compile_time")
END = 15.0
"""Seconds for a process of the tests to end by itself."""


def racked(folder: Path, count: int, runner: str = "board", extra: str = "") -> Path:
    """The file of a suite with so many small cases on boards."""
    write(folder)
    words = [case(f"c{i}", runner, 1 + i % 5) for i in range(count)]
    path = folder / "rack.toml"
    path.write_text(HEAD + "".join(words) + extra)
    return path


def case(name: str, runner: str, limit: int) -> str:
    """One of the suite's."""
    files = 'artifact = "small.ndp"\ndata = "small.npz"'
    return f'[[case]]\nname = "{name}"\nrunner = "{runner}"\nlimit = {limit}\n{files}\n'


def loaded(folder: Path, count: int, runner: str = "board", extra: str = "") -> Suite:
    return load(racked(folder, count, runner, extra))


def numbers(result: SuiteResult) -> list[object]:
    """What must not depend on where a suite ran: everything but times."""
    return [
        (case.name, case.outcome, {k: v for k, v in case.numbers.items() if k not in TIMES}, case.blame)
        for case in result.results
    ]


@contextlib.contextmanager
def rack(*faults: str) -> Iterator[list[str]]:
    """Servers of this process by their faults ("" for none): addresses. The token must be in the environment."""
    with contextlib.ExitStack() as stack:
        servers = []
        for words in faults:
            board: Device = boards.oracle_board()
            if words:
                board = FaultyBoard(boards.oracle_board(), plan(words))
            terms = replace(boards.TERMS, run=0.5 if "hang" in words else 5.0)
            servers.append(stack.enter_context(boards.lent(board, terms)))
        yield [server.url for server in servers]


@contextlib.contextmanager
def served(*arguments: str, token: str = boards.TOKEN) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`ndeploy board serve` as a process, and its address."""
    words = [sys.executable, "-m", "ndeploy", "board", "serve", "--listen", "127.0.0.1:0", "--json", *arguments]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, "NDEPLOY_BOARD_TOKEN": token}
    ) as server:
        try:
            yield server, _url(server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(END)


def _url(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    said = ""
    while not said.endswith("}\n"):
        line = server.stdout.readline()
        assert line, f"the server ended: {said}"
        said += line
    return str(json.loads(said)["url"])


def below(pid: int) -> list[int]:
    """The processes that a process has started, and they."""
    with contextlib.suppress(OSError):
        found = [
            int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()
        ]
        return [*found, *(grandchild for child in found for grandchild in below(child))]
    return []


def alive(pids: list[int]) -> list[int]:
    """Of these, those that have not ended."""
    return [pid for pid in pids if _state(pid) not in ("", "Z")]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def soon(condition: object, seconds: float = END) -> bool:
    """Whether it comes true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
