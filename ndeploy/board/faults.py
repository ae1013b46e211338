"""A software board that fails on purpose, by a seed: the test bench of everything that must survive a bad board.

Where the board has a meter, that lies too: so that nobody can miss it ("power"), or by a factor of energy ("scale").
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ndeploy.board import arrays
from ndeploy.board.child import STARTED
from ndeploy.board.protocol import AnswerError, Frame
from ndeploy.board.software import SoftwareBoard
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program

KINDS: Mapping[str, str] = {
    "hang": "does not answer until it is ended",
    "reset": "forgets the program",
    "drop": "loses a message, of the input or of the output",
    "double": "sends a message twice, of the input or of the output",
    "flip": "flips a bit of a weight in its memory",
    "slow": "answers late",
    "fail": "says that it failed",
    "die": "ends, where it is a process of its own",
    "power": "shows an energy, or a time, that cannot be",
    "scale": "counts the energy of a stream times or divided by `factor`",
}
METERED = ("power", "scale")
"""Those that a board without a meter cannot have."""
SLOW_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """rates: probability of each kind, by request. seed: what decides. factor: of "scale", above 1."""

    rates: Mapping[str, float]
    seed: int = 0
    factor: float = 1.2

    @property
    def needs_meter(self) -> bool:
        """Whether it lies about energy."""
        return any(self.rates.get(kind) for kind in METERED)


def plan(words: str) -> Plan:
    """Of "flip=0.1,scale=1,factor=1.5,seed=3". Raises UsageError ND632."""
    rates: dict[str, float] = {}
    seed, factor = 0, Plan.factor
    for word in filter(None, words.split(",")):
        name, _, value = word.strip().partition("=")
        try:
            if name == "seed":
                seed = int(value)
            elif name == "factor" and 1 < float(value) < 1e6:
                factor = float(value)
            elif name in KINDS and name not in rates and 0 <= float(value) <= 1:
                rates[name] = float(value)
            else:
                raise ValueError
        except ValueError:
            raise UsageError(
                "ND632",
                f"'{word[:80]}' is no fault and its probability",
                help=f"give KIND=PROBABILITY, of {', '.join(KINDS)}, seed=N, and factor=F above 1, separated by commas",
            ) from None
    return Plan(rates, seed, factor)


def started() -> int:
    """How often this command was started before, 0 where nobody says so."""
    said = os.environ.get(STARTED, "")
    return int(said) if said.isdecimal() else 0


def _fail() -> None:
    raise RuntimeError("the board ended")


class FaultyBoard:
    """A Device. happened: the faults so far, in order; die: what "die" does. A command that is started again draws
    other faults than the first time: else whoever tries again would meet the same."""

    def __init__(self, board: SoftwareBoard, plan: Plan, *, die: Callable[[], None] = _fail) -> None:
        self._board, self._plan, self._die = board, plan, die
        self._random = random.Random(plan.seed if not started() else f"{plan.seed}, start {started()}")
        self._aborted = threading.Event()
        self._one = threading.Lock()
        self._true = self._told = 0.0
        self._lies = 0
        self.happened: list[str] = []

    def describe(self) -> dict[str, Any]:
        return self._board.describe()

    def ask(self, frame: Frame, limit: float) -> Frame:
        with self._one:
            self._aborted.clear()
            return self._answer(frame, limit)

    def _answer(self, frame: Frame, limit: float) -> Frame:
        if self._draws("hang"):
            self._aborted.wait(limit + 1.0)  # longer than the server's patience, but no thread stays for ever
            raise AnswerError("fault", "the board hung and was ended")
        if self._draws("slow"):
            self._aborted.wait(SLOW_SECONDS)
        if self._draws("die"):
            self._die()
        if self._draws("fail"):
            raise AnswerError("fault", "the board says that it failed")
        if self._draws("reset"):
            self._board.reset()
        if self._board.program is not None and self._draws("flip"):
            self._board.program = flipped(self._board.program, self._random)
        if frame.op == "stream":
            return self._stream(frame, limit)
        answer = self._board.ask(frame, limit)
        true = answer.fields.get("power")
        if isinstance(true, dict):
            answer = Frame(answer.op, {**answer.fields, "power": self._meter(true)}, answer.body)
        return answer

    def abort(self) -> None:
        self._aborted.set()

    def reset(self) -> None:
        self._board.reset()

    def close(self) -> None:
        self.abort()
        self._board.close()

    def _draws(self, kind: str) -> bool:
        rate = self._plan.rates.get(kind, 0.0)
        if rate and self._random.random() < rate:
            self.happened.append(kind)
            return True
        return False

    def _stream(self, frame: Frame, limit: float) -> Frame:
        faults = [kind for kind in ("drop", "double") if self._draws(kind)]
        incoming = [kind for kind in faults if self._random.random() < 0.5]
        for kind in incoming:
            frame = self._changed(frame, kind)
        answer = self._board.ask(frame, limit)
        for kind in faults:
            if kind not in incoming:
                answer = self._changed(answer, kind)
        return answer

    def _changed(self, frame: Frame, kind: str) -> Frame:
        named = arrays.unpack(frame.fields.get("arrays"), frame.body)
        name = self._random.choice(sorted(named))
        named[name] = disturbed(named[name], kind, self._random)
        listed, body = arrays.pack(named)
        return Frame(frame.op, {**frame.fields, "arrays": listed}, body)

    def _meter(self, true: Mapping[str, float]) -> dict[str, float]:
        """What the meter shows in place of the truth."""
        step, self._true = true["joules"] - self._true, true["joules"]
        if step > 0 and self._draws("scale"):
            step *= self._plan.factor if self._random.random() < 0.5 else 1 / self._plan.factor
        self._told += step
        said = {"joules": self._told, "seconds": true["seconds"]}
        if self._draws("power"):
            self._lies += 1
            if self._random.random() < 0.5:
                said["joules"] = -1.0
            else:
                said["seconds"] += 1e5 * self._lies
        return said


def disturbed(message: IntArray, kind: str, draw: random.Random) -> IntArray:
    """(samples, steps, ...) with one message lost ("drop"), or sent again a step later ("double"); as it was where
    there is none, or no room."""
    changed: IntArray = message.copy()
    sent = message != 0
    if kind == "double":
        sent[:, :-1] &= message[:, 1:] == 0
        sent[:, -1] = False
    found = np.argwhere(sent)
    if len(found):
        index = tuple(int(i) for i in found[draw.randrange(len(found))])
        at = index if kind == "drop" else (index[0], index[1] + 1, *index[2:])
        changed[at] = 0 if kind == "drop" else message[index]
    return changed


def flipped(program: Program, draw: random.Random) -> Program:
    """The program with one of the seven low bits of one stored weight flipped."""
    at = draw.randrange(len(program.projections))
    projection = program.projections[at]
    weight = projection.synapses.weight.copy()
    weight.reshape(-1)[draw.randrange(weight.size)] ^= 1 << draw.randrange(7)
    changed = replace(projection, synapses=replace(projection.synapses, weight=weight))
    return replace(program, projections=(*program.projections[:at], changed, *program.projections[at + 1 :]))
