"""A board that computes with one of ndeploy's runners."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndeploy import artifact as artifacts
from ndeploy.board import arrays, protocol
from ndeploy.board.meter import ModelMeter
from ndeploy.board.protocol import AnswerError, Frame, FrameError
from ndeploy.errors import NdeployError, UnreachableError
from ndeploy.fixed import IntArray
from ndeploy.ir import serial
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.runners import DrivesChip, Runner, RunnerOptions

COUNTS = ("synaptic_ops", "spikes", "neuron_updates", "embedded_ops")
ACTIVITY = ("messages", "arrivals", "live")


def memory_digest(program: Program) -> str:
    """What a board that reads its memory back must find: sha256 over every array of the program, in the artifact's
    order, each as its bytes in C order, little-endian."""
    import hashlib

    digest = hashlib.sha256()
    for array in serial.to_parts(program)[1].values():
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


class SoftwareBoard:
    """A Device. runner: what computes; name: as the welcome says it; meter: None for a board without one."""

    def __init__(
        self, runner: Runner, name: str, options: RunnerOptions | None = None, meter: ModelMeter | None = None
    ) -> None:
        self._runner, self._name, self._meter = runner, name, meter
        self._drives = isinstance(runner, DrivesChip)
        self._options = options or RunnerOptions()
        self._program: Program | None = None
        self._last: RunResult | None = None
        self._received = ""
        self._one = threading.Lock()

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "runner": self._name,
            # of a chip's memory this process has a copy, which says nothing of the chip
            "features": ["counters", "digests"] if self._drives else ["readback", "counters", "digests"],
            "watts": None,
            "meter": None,
        }
        if self._meter is None:
            return found
        return {**found, "features": [*found["features"], "power"], "meter": self._meter.describe()}

    def ask(self, frame: Frame, limit: float) -> Frame:
        if not self._one.acquire(blocking=False):
            raise AnswerError("fault", "the board is still busy with what an earlier client asked")
        try:
            return self._answer(frame, limit)
        except NdeployError as error:
            if self._failed(error):
                raise AnswerError("fault", f"{error.code}: {error.message}") from error
            raise AnswerError(
                "model", error.message, code=error.code, help=error.help, exit_code=error.exit_code
            ) from error
        except FrameError as error:
            raise AnswerError("usage", str(error)) from error
        finally:
            self._one.release()

    def _failed(self, error: NdeployError) -> bool:
        """Whether the runner's machine failed, which says nothing of the program."""
        return isinstance(error, UnreachableError) or error.code == "ND606"  # its worker died

    def abort(self) -> None:
        """A runner in this process cannot be ended from outside: a server that must end it puts it in a child."""

    def reset(self) -> None:
        self._program = self._last = None
        self._received = ""

    def close(self) -> None:
        self.reset()

    @property
    def program(self) -> Program | None:
        """What is in the memory: the test bench flips its bits."""
        return self._program

    @program.setter
    def program(self, program: Program | None) -> None:
        self._program = program

    def _answer(self, frame: Frame, limit: float) -> Frame:
        if frame.op == "program":
            return self._take(frame)
        if self._program is None:
            raise AnswerError("fault", "the board holds no program")
        if frame.op == "readback" and not self._drives:
            return Frame("readback", {"memory": memory_digest(self._program)})
        if frame.op == "stream":
            return self._stream(self._program, frame, limit)
        return self._read()

    def _take(self, frame: Frame) -> Frame:
        self.reset()
        if artifacts.sha256(frame.body) != protocol.text(frame.fields, "sha256"):
            raise AnswerError("fault", "the artifact is not the one that was sent: its sha256 differs")
        program = loaded(frame.body).program
        if self._meter is not None:
            self._meter.load(program)
        self._program = program
        return Frame("programmed", {"memory": memory_digest(program), "power": self._power()})

    def _power(self) -> dict[str, float] | None:
        return None if self._meter is None else self._meter.read()

    def _stream(self, program: Program, frame: Frame, limit: float) -> Frame:
        self._last = None
        messages = arrays.unpack(frame.fields.get("arrays"), frame.body)
        check_messages(program, messages)
        self._received = arrays.digest(messages)
        options = RunnerOptions(
            lava_python=self._options.lava_python,
            lava_mode=self._options.lava_mode,
            threads=self._options.threads,
            time_limit=min(limit, protocol.number(frame.fields, "time_limit", limit, 0.0, 1e9)),
            activity=(asked := protocol.flag(frame.fields, "activity")) or self._meter is not None,
        )
        trace = protocol.flag(frame.fields, "trace")
        began = time.monotonic()
        result = self._runner(program, messages, trace=trace, options=options)
        if self._meter is not None:
            self._meter.count(program, result.activity, time.monotonic() - began)
        self._last = result if asked else replace(result, activity=None)
        named = {f"outputs/{name}": value for name, value in result.outputs.items()}
        if trace:  # the oracle traces unasked
            named |= {f"traces/{name}": value for name, value in result.traces.items()}
        listed, body = arrays.pack(named)
        return Frame("result", {"arrays": listed, "seconds": result.seconds, "chip_steps": result.chip_steps}, body)

    def _read(self) -> Frame:
        """Counters of the last stream, and digests of what went in and came out as the board itself saw it."""
        result = self._last
        if result is None:
            raise AnswerError("usage", "nothing has been streamed since the program was loaded")
        named: dict[str, IntArray] = {}
        for kind in COUNTS:
            named |= {f"{kind}/{name}": value for name, value in getattr(result.counts, kind).items()}
        if result.activity is not None:
            for kind in ACTIVITY:
                named |= {f"activity/{kind}/{name}": v for name, v in getattr(result.activity, kind).items()}
        listed, body = arrays.pack(named)
        fields = {
            "arrays": listed,
            "overflow": {name: dict(events) for name, events in result.overflow.items()},
            "received": self._received,
            "sent": arrays.digest(result.outputs),
            "activity": result.activity is not None,
            "power": self._power(),
        }
        return Frame("counters", fields, body)


def check_messages(program: Program, messages: Mapping[str, IntArray]) -> None:
    """Raises FrameError unless there is one array (samples, steps, *shape) an input population, within its payload."""
    wanted = [program.population(port.population) for port in program.inputs]
    if set(messages) != {p.name for p in wanted}:
        raise FrameError("the messages are not those of the program's inputs")
    samples = {len(message) if message.ndim else 0 for message in messages.values()}
    if len(samples) != 1 or 0 in samples:
        raise FrameError("the inputs have no samples, or not equally many")
    for population in wanted:
        message = messages[population.name]
        if message.shape[1:] != (program.steps, *population.shape):
            raise FrameError("an input's messages have not the shape of its population")
        kind = population.neuron.message
        if int(message.min()) < kind.low or int(message.max()) > kind.high:
            raise FrameError("an input's messages leave its payload")


def loaded(data: bytes) -> artifacts.Artifact:
    """The artifact of these bytes, checked as one from a file. Raises what `ndeploy.artifact.load` raises."""
    descriptor, name = tempfile.mkstemp(prefix="ndeploy-board-", suffix=".ndp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return artifacts.load(Path(name))
    finally:
        os.unlink(name)
