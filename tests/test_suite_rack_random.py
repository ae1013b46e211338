"""Suites on racks of three boards with faults drawn by a seed, in the boards and in the cables to them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import boards
import pytest
from racks import loaded, numbers, soon

from ndeploy.board import cable, faults
from ndeploy.suite import lanes_asked
from ndeploy.suite import run as module
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Lane, close_all
from ndeploy.suite.lanes_process import ProcessLane
from ndeploy.suite.measure import Context
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.run import run
from ndeploy.suite.verdict import SuiteResult

SCENARIOS = int(os.environ.get("NDEPLOY_SCENARIOS", "60"))
LIMIT = 240.0
"""Seconds for a suite, whatever its boards do: far beyond what retries and pauses add up to."""
UNTIMED = Context(timed=False)


def drawn(seed: int) -> list[tuple[str, dict[str, float]]]:
    """Of three boards, the words of --inject and the rates of the cable's faults; a third of the boards is sound."""
    draw = random.Random(seed)
    found = []
    for number in range(3):
        words, rates = "", {}
        if draw.random() < 2 / 3:
            kinds = draw.sample(sorted(faults.KINDS), draw.randint(1, 3))
            total = draw.random() < 0.2
            words = ",".join(f"{kind}={1 if total else draw.choice((0.03, 0.1, 0.3))}" for kind in kinds)
            words += f",seed={seed * 3 + number}"
        if draw.random() < 1 / 3:
            rates = {kind: draw.choice((0.01, 0.05)) for kind in draw.sample(cable.KINDS, draw.randint(1, 2))}
        found.append((words, rates))
    return found


class Switch(cable.Cable):
    """A cable whose far end and faults change from scenario to scenario, so that its address stays."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, {}, 0)

    def lead(self, to: int, rates: dict[str, float], seed: int) -> None:
        self._to = ("127.0.0.1", to)
        self._rates, self._random = rates, random.Random(seed)


class Kept:
    """Lanes whose processes serve one scenario after another: starting them takes longer than the scenarios."""

    def __init__(self) -> None:
        self._lanes: dict[str, ProcessLane] = {}
        self._last: dict[str, Future[object]] = {}
        self._seed = 0
        self._draw = random.Random()

    def begin(self, seed: int) -> None:
        self._seed, self._draw = seed, random.Random(seed)

    def lane(self, context: Context, url: str, board: bool, progress: object) -> ProcessLane:
        """In place of `ProcessLane`."""
        if url not in self._lanes:
            lane = self._lanes[url] = ProcessLane(context, url, board)
            submit, probe = lane.submit, lane.probe

            def submitted(case: Case) -> Future[Measured | Failure]:
                if self._seed % 4 == 3 and lane.pid is not None and self._draw.random() < 1 / 4:
                    os.kill(lane.pid, signal.SIGKILL)
                return self._remembered(url, submit(case))

            lane.submit = submitted  # type: ignore[method-assign]
            lane.probe = lambda: self._remembered(url, probe())  # type: ignore[method-assign]
        return self._lanes[url]

    def _remembered(self, url: str, future: Future[Any]) -> Future[Any]:
        self._last[url] = future
        return future

    def leave(self, lanes: Sequence[Lane]) -> None:
        """In place of `close_all`: what still works for the last scenario ends with it."""
        for lane in lanes:
            if lane.name in self._last and not self._last[lane.name].done():
                lane.close()
                del self._lanes[lane.name]

    def close(self) -> None:
        close_all(list(self._lanes.values()))


@contextlib.contextmanager
def built(scenario: list[tuple[str, dict[str, float]]], switches: list[Switch], seed: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for number, (words, rates) in enumerate(scenario):
            board = faults.FaultyBoard(boards.oracle_board(), faults.plan(words))
            terms = replace(boards.TERMS, run=0.5 if "hang" in words else 5.0, beat=0.2)
            server = stack.enter_context(boards.lent(board, terms))
            switches[number].lead(boards.where(server).port, rates, seed * 3 + number)
        yield


@pytest.mark.long
def test_every_scenario_gives_the_serial_result_or_blames_the_boards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", boards.TOKEN)
    monkeypatch.delenv("NDEPLOY_BOARD", raising=False)
    serial = run(loaded(tmp_path, 4, "sim"), UNTIMED, update=True)
    suite = loaded(tmp_path, 4)
    resource_tracker.ensure_running()  # stays until this process ends
    before = _left()
    seen: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        switches = [stack.enter_context(Switch()) for _ in range(3)]
        kept = Kept()
        stack.callback(kept.close)
        monkeypatch.setattr(lanes_asked, "ProcessLane", kept.lane)
        monkeypatch.setattr(module, "close_all", kept.leave)
        urls = [f"tcp://127.0.0.1:{switch.port}" for switch in switches]
        for seed in range(SCENARIOS):
            scenario = drawn(seed)
            kept.begin(seed)
            with built(scenario, switches, seed):
                began = time.monotonic()
                result = run(suite, UNTIMED, boards=urls, pauses=(0.1, 0.2, 0.4))
                assert time.monotonic() - began < LIMIT, (seed, scenario)
            _check(result, serial, seen, (seed, scenario))
    assert soon(lambda: _left() == before), (_left(), before)
    print(dict(seen))
    assert seen["as the serial run"] > seen["blamed on boards"]
    assert seen["moves"] > 0


def _check(result: SuiteResult, serial: SuiteResult, seen: Counter[str], what: object) -> None:
    for found, wanted, case in zip(numbers(result), numbers(serial), result.results, strict=True):
        seen["moves"] += len(case.moves)
        if found == wanted:
            seen["as the serial run"] += 1
        elif case.code == "ND667":
            seen["killed twice"] += 1
        else:
            assert (case.outcome in ("error", "failed"), case.blame) == (True, "board"), (what, case)
            seen["blamed on boards"] += 1
            seen[case.code or "differs"] += 1
    seen["quarantines"] += len(result.quarantined)
    seen["returned"] += sum(board.returned for board in result.quarantined)


def _left() -> dict[str, int]:
    return {what: count for what, count in boards.left_open().items() if what != "memory"}
