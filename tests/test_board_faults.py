"""A board that fails, by a seed: the answer is the right one or exit 3, in time, and nothing is left behind."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
from boards import ask, client, left_open, lent, metered_board, oracle_board, same
from small_artifact import PROGRAM

from ndeploy import oracle
from ndeploy.board import faults
from ndeploy.board.cable import Cable
from ndeploy.board.desk import Terms
from ndeploy.board.faults import FaultyBoard, Plan
from ndeploy.board.runner import Patience
from ndeploy.errors import NdeployError, UnreachableError, UsageError
from ndeploy.runners import RunnerOptions

MESSAGES = {"in": (np.random.default_rng(3).random((5, 4, 4)) < 0.5).astype(np.int64)}
WANTED = oracle.run(PROGRAM, MESSAGES)
CALLS = 3
TERMS = Terms(idle=1.0, longest=30.0, run=0.5, waiting=2, beat=0.05)
PATIENCE = Patience(wait=2.0, connect=1.0, request=2.0, retries=3, pause=0.01)
LIMIT = CALLS * 4 * (PATIENCE.wait + 1.0 + 2 * PATIENCE.request)
"""Seconds a scenario may take, whatever happens in it: four tries of three calls under this patience."""


@dataclass(frozen=True)
class Outcome:
    """right, refused: calls. faults: what happened."""

    seed: int
    right: int
    refused: int
    faults: tuple[str, ...]
    seconds: float


def scenario(seed: int) -> Outcome:
    """Three runs on a board and a cable that fail as the seed says. Fails where an answer is wrong or late, or where a
    fault of the board looks like an answer of the model."""
    draw = random.Random(seed)
    kinds = draw.sample(sorted(faults.KINDS), draw.randrange(1, 4))
    rates = {kind: draw.choice([0.05, 0.2, 0.4] if kind != "hang" else [0.05, 0.1]) for kind in kinds}
    cable = {}
    if draw.random() < 0.4:
        kind = draw.choice(["cut", "damage", "garbage", "stall"])
        cable = {kind: draw.choice([0.01, 0.05]) if kind != "stall" else 0.01}
    plan = Plan(rates, seed, factor=draw.choice([1.05, 1.5, 10.0]))
    device = FaultyBoard(metered_board() if plan.needs_meter else oracle_board(), plan)
    began = time.monotonic()
    right = 0
    codes: list[tuple[str, int]] = []
    with lent(device, TERMS) as server, Cable("127.0.0.1", int(server.url.rpartition(":")[2]), cable, seed) as wire:
        with client(f"tcp://127.0.0.1:{wire.port}", PATIENCE) as board:
            for _ in range(CALLS):
                try:
                    found = ask(board, PROGRAM, MESSAGES)
                except NdeployError as error:
                    codes.append((error.code, error.exit_code))
                else:
                    assert same(found, WANTED), (seed, device.happened, wire.happened)
                    right += 1
        seconds = time.monotonic() - began
    assert all(exit_code == 3 for _, exit_code in codes), (seed, codes)
    assert seconds < LIMIT, (seed, device.happened, wire.happened)
    return Outcome(seed, right, len(codes), (*device.happened, *wire.happened), seconds)


def scenarios(seeds: range) -> None:
    before = left_open()
    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(scenario, seeds))
    assert left_open() == before
    happened = Counter(fault for outcome in outcomes for fault in outcome.faults)
    assert set(happened) >= {*faults.KINDS, "cut", "damage"}, happened  # every kind was met
    assert all(outcome.right + outcome.refused == CALLS for outcome in outcomes)
    with_faults = [outcome for outcome in outcomes if outcome.faults]
    assert len(with_faults) > 0.8 * len(outcomes)
    assert any(outcome.right == CALLS for outcome in with_faults)  # trying again helps; how often, the load decides
    assert any(outcome.refused for outcome in outcomes)


def test_sixty_scenarios() -> None:
    scenarios(range(60))


@pytest.mark.long
def test_two_hundred_scenarios() -> None:
    scenarios(range(200))


@pytest.mark.parametrize("kind", sorted(faults.KINDS))
def test_a_board_that_always_fails_is_blamed_by_name(kind: str) -> None:
    device = FaultyBoard(metered_board(), Plan({kind: 1.0}, 1))
    patience = Patience(request=3.0, retries=1, pause=0.01)
    with lent(device) as server, client(server.url, patience) as board:
        if kind in ("slow", "scale"):  # late is not wrong; what a meter shows is judged elsewhere (test_power.py)
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)
            return
        with pytest.raises(UnreachableError) as caught:
            ask(board, PROGRAM, MESSAGES)
    blamed = {"flip": "ND626", "drop": "ND626", "double": "ND626", "power": "ND627"}
    assert caught.value.code == blamed.get(kind, "ND630")
    assert len(board.retried) == 1
    assert caught.value.exit_code == 3


def test_a_hang_that_takes_longer_than_faults_may_is_not_tried_again() -> None:
    """Else a board costs its server's limit five times before anybody looks at it."""
    device = FaultyBoard(oracle_board(), Plan({"hang": 1.0}, 1))
    with lent(device) as server, client(server.url, replace(PATIENCE, lost=0.4)) as board:  # it is ended after 0.5 s
        with pytest.raises(UnreachableError) as caught:
            ask(board, PROGRAM, MESSAGES)
        assert (caught.value.code, device.happened, board.retried) == ("ND630", ["hang"], [])


def test_time_in_the_queue_is_no_fault() -> None:
    device = FaultyBoard(oracle_board(), Plan({"fail": 1.0}, 1))
    with lent(device) as server, client(server.url) as first, client(server.url, replace(PATIENCE, lost=0.5)) as board:
        first._leased(RunnerOptions(), None)
        leaving = threading.Timer(1.0, first.close)
        leaving.start()
        with pytest.raises(UnreachableError):
            ask(board, PROGRAM, MESSAGES)
        leaving.join()
        assert board.retried


def test_a_command_that_is_started_again_meets_other_faults() -> None:
    """With one seed, the command that hangs at its first request would do so however often it is tried."""
    words = "board serve --stdio --runner oracle --inject fail=0.3,seed=108"
    url = f"exec:{sys.executable} -m ndeploy {words}"
    with client(url, replace(PATIENCE, connect=30.0, request=30.0, retries=8)) as board:
        assert same(ask(board, PROGRAM, MESSAGES), WANTED)
        assert {error.code for error in board.retried} == {"ND630"}


def test_one_fault_is_survived() -> None:
    class Once(FaultyBoard):
        def _draws(self, kind: str) -> bool:
            return kind not in self.happened and super()._draws(kind)

    for kind in sorted(faults.KINDS):
        with lent(Once(metered_board(), Plan({kind: 1.0}, 5))) as server, client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED), kind


@pytest.mark.parametrize("kind", ["drop", "double"])
def test_disturbed_messages_differ_by_one(kind: str) -> None:
    message = MESSAGES["in"]
    changed = [faults.disturbed(message, kind, random.Random(seed)) for seed in range(20)]
    assert {int((c != message).sum()) for c in changed} <= {0, 1}
    assert sum(int((c != message).sum()) for c in changed) > 3
    assert not faults.disturbed(np.zeros((1, 2, 3), np.int64), kind, random.Random(0)).any()


def test_a_flipped_bit_is_one() -> None:
    for seed in range(20):
        changed = faults.flipped(PROGRAM, random.Random(seed))
        differing = [
            (a.synapses.weight ^ b.synapses.weight)[a.synapses.weight != b.synapses.weight]
            for a, b in zip(PROGRAM.projections, changed.projections, strict=True)
        ]
        bits = [int(x) for d in differing for x in d]
        assert len(bits) == 1
        assert bits[0] & (bits[0] - 1) == 0


def test_plans_are_read() -> None:
    assert faults.plan("flip=0.1,hang=1,seed=7") == Plan({"flip": 0.1, "hang": 1.0}, 7)
    assert faults.plan("") == Plan({}, 0)
    assert faults.plan("scale=1,factor=10") == Plan({"scale": 1.0}, 0, 10.0)
    assert faults.plan("scale=1").needs_meter
    assert not faults.plan("scale=0,flip=1").needs_meter


@pytest.mark.parametrize(
    "words",
    ["bogus=1", "flip", "flip=2", "flip=x", "flip=nan", "seed=x", "flip=1,flip=1", "flip=-1", "factor=1", "factor=nan"],
)
def test_plans_that_are_none(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        faults.plan(words)
    assert caught.value.code == "ND632"
