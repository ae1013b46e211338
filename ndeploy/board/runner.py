"""The runner "board": leases a board, programs it, streams samples, checks every answer, and tries again."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ndeploy.artifact import Artifact, sha256, to_bytes
from ndeploy.board import arrays, credible, failures, protocol
from ndeploy.board.device import features
from ndeploy.board.link import Command, Link, Tcp, address
from ndeploy.board.protocol import AnswerError, Frame, FrameError, GoneError, SlowError, WireError, flag, number, text
from ndeploy.board.software import memory_digest
from ndeploy.errors import NdeployError, RefusedError, UsageError
from ndeploy.evaluate import join
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import PowerReading, RunResult
from ndeploy.runners import RunnerOptions

BOARD = "NDEPLOY_BOARD"
"""Environment variable with the address."""
TOKEN = failures.TOKEN
RETRIED = ("ND620", "ND624", "ND625", "ND626", "ND627", "ND628", "ND630")
"""Faults of the board or the way to it. Samples do not depend on each other, so a batch may be run again."""
SAMPLES = 4096
"""At once."""


@dataclass(frozen=True)
class Patience:
    """How long and how often. wait: seconds in the board's queue; connect: until the board has welcomed us, None for
    what link.py grants; request: seconds until an answer, however much the board shows signs of life; retries: after
    the first try, each after `pause` * 2^k seconds, jittered, at most `longest_pause`; lost: seconds by which failed
    tries may have taken longer than answers for another to be made: one hang may cost more than many faults."""

    wait: float = 600.0
    connect: float | None = None
    request: float = 900.0
    retries: int = 4
    pause: float = 0.2
    longest_pause: float = 5.0
    lost: float = 300.0


class BoardRunner:
    """A Runner that keeps its lease from the first call until it is closed. A context manager.

    retried: the faults after which something was tried again, with their messages.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        patience: Patience | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._where: Tcp | Command = address(url)
        self._token = "" if isinstance(self._where, Command) else token  # pipes of our own are private
        self._patience = patience or Patience()
        self._sleep = sleep
        self._link: Link | None = None
        self._loaded: Program | None = None
        self._memory = ""
        self._power: credible.Power | None = None
        self._discarded = 0.0
        self._began = self._lost = 0.0
        self._jitter = random.Random()
        self.retried: list[NdeployError] = []

    def __enter__(self) -> BoardRunner:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the board back. May be called twice."""
        link, self._link, self._loaded = self._link, None, None
        self._power = None
        if link is not None:
            link.close()

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        """Raises UnreachableError ND620 to ND628 or ND630 for the board, RunnerError ND690 when options.time_limit has
        passed, RefusedError ND629 or ND633, or the runner's own error where it refuses the program or its data."""
        deadline = time.monotonic() + options.time_limit if options.time_limit is not None else None
        samples = len(next(iter(messages.values())))
        results: list[RunResult] = []
        done = 0
        while done < samples:
            part, result = self._tried(program, messages, done, trace, options, deadline)
            results.append(result)
            done += part
            options.progress(f"{done} of {samples} samples")
        return join(results)

    def status(self) -> dict[str, Any]:
        """Asks without a lease; see the function of this name."""
        link = self._connected()
        answer = self._ask(link, Frame("status"), "status", None, limit=30.0)
        try:
            return {
                "runner": text(link.welcome, "runner", "?", 80),
                "features": list(features(link.welcome)),
                "meter": credible.meter(link.welcome)[0] if "power" in features(link.welcome) else None,
                "busy": flag(answer.fields, "busy"),
                "waiting": int(number(answer.fields, "waiting", 0, 0, 2**53)),
                "leases": int(number(answer.fields, "leases", 0, 0, 2**53)),
            }
        except FrameError as error:
            raise failures.broken(error) from error

    # -- one part of the samples --------------------------------------------------------------------------------------

    def _tried(
        self,
        program: Program,
        messages: Mapping[str, IntArray],
        done: int,
        trace: bool,
        options: RunnerOptions,
        deadline: float | None,
    ) -> tuple[int, RunResult]:
        fault: NdeployError | None = None
        for attempt in range(self._patience.retries + 1):
            self._began = time.monotonic()
            try:
                found = self._run(program, messages, done, trace, options, deadline)
                self._lost -= time.monotonic() - self._began
                return found
            except NdeployError as error:
                self._lost += time.monotonic() - self._began
                self.close()
                if error.code == "ND690" and fault is not None:
                    raise fault from error  # the board's fault took the time, not the program
                last = attempt == self._patience.retries or self._lost > self._patience.lost
                if error.code not in RETRIED or last:
                    raise
                fault = error
                self.retried.append(error)
                options.progress(f"{error.code}: {error.message}; trying again")
                pause = min(self._patience.longest_pause, self._patience.pause * 2**attempt)
                pause *= 0.5 + 0.5 * self._jitter.random()
                self._sleep(max(0.0, min(pause, deadline - time.monotonic())) if deadline is not None else pause)
            except BaseException:
                self.close()
                raise
        raise AssertionError("the last attempt returns or raises")

    def _run(
        self,
        program: Program,
        messages: Mapping[str, IntArray],
        done: int,
        trace: bool,
        options: RunnerOptions,
        deadline: float | None,
    ) -> tuple[int, RunResult]:
        link = self._leased(options, deadline)
        self._began = time.monotonic()  # no board is to blame for its queue
        can = features(link.welcome)
        if "counters" not in can:
            raise RefusedError("ND629", "the board has no event counters", help="use a board that counts its events")
        self._program(link, program, deadline)
        part = self._samples(link, program, messages, trace)
        given = {name: message[done : done + part] for name, message in messages.items()}
        part = len(next(iter(given.values())))
        listed, body = arrays.pack(given)
        limit = failures.left(deadline, self._patience.request)
        fields = {"arrays": listed, "trace": trace, "activity": options.activity, "time_limit": limit}
        try:
            most = part * _answered(program, trace)
            answer = self._ask(link, Frame("stream", fields, body), "result", deadline, body=most)
            counters = self._ask(link, Frame("read"), "counters", deadline, body=most + protocol.STREAM_BYTES)
        except NdeployError as error:
            if error.code not in RETRIED and error.code != "ND690":
                self._check_memory(link, can, deadline)  # refused for what the program says, not for a flipped bit
            raise
        reading = self._metered(link, counters, part)
        try:
            self._check_memory(link, can, deadline)
            result = credible.result(program, given, answer, counters, can, trace=trace)
        except (FrameError, NdeployError) as error:
            self._discarded += 0.0 if reading is None else reading.joules
            if isinstance(error, FrameError):
                raise failures.broken(error) from error
            raise
        if reading is not None:
            reading, self._discarded = replace(reading, discarded=self._discarded), 0.0
        return part, replace(result, power=reading)

    def _metered(self, link: Link, counters: Frame, samples: int) -> PowerReading | None:
        """What the meter counted over the stream that has just ended."""
        before, self._power = self._power, credible.power(counters.fields, link.welcome, self._power)
        if before is None or self._power is None:
            return None
        try:
            name, scope, chip = credible.meter(link.welcome)
        except FrameError as error:
            raise failures.broken(error) from error
        joules, seconds = self._power.joules - before.joules, self._power.seconds - before.seconds
        return PowerReading(joules, seconds, samples, name, scope, chip=chip)

    def _connected(self) -> Link:
        try:
            self._link = Link(self._where, self._token, self._patience.connect)
        except (OSError, WireError) as error:
            raise failures.unreachable(self._where, error) from error
        return self._link

    def _leased(self, options: RunnerOptions, deadline: float | None) -> Link:
        if self._link is not None:
            return self._link
        link = self._connected()
        wait = min(self._patience.wait, failures.left(deadline, self._patience.wait))
        lease = Frame("lease", {"wait": wait})

        def told(beat: Frame) -> None:
            before = beat.fields.get("before")
            options.progress(f"waiting for the board, {before} before us" if isinstance(before, int) else "waiting")

        self._ask(link, lease, "leased", deadline, limit=wait + 30.0, watch=told)
        return link

    def _program(self, link: Link, program: Program, deadline: float | None) -> None:
        if self._loaded is program:
            return
        self._loaded = None
        data = to_bytes(Artifact(program))
        most = number(link.welcome, "artifact_bytes", 0, 0, 2**53)
        if len(data) > most:
            raise RefusedError(
                "ND633",
                f"the program has {len(data)} bytes, the board takes {int(most)}",
                help="start the board's server with a higher --artifact-limit",
            )
        frame = Frame("program", {"sha256": sha256(data)}, data)
        answer = self._ask(link, frame, "programmed", deadline)
        self._memory = memory_digest(program)
        if "readback" in features(link.welcome) and answer.fields.get("memory") != self._memory:
            raise credible.untrue("its memory does not hold the program that it was sent")
        self._power = credible.power(answer.fields, link.welcome, self._power)
        self._loaded = program

    def _check_memory(self, link: Link, can: Sequence[str], deadline: float | None) -> None:
        if "readback" not in can:
            return
        answer = self._ask(link, Frame("readback"), "readback", deadline)
        if answer.fields.get("memory") != self._memory:
            raise credible.untrue("its memory no longer holds the program that it was sent")

    def _samples(self, link: Link, program: Program, messages: Mapping[str, IntArray], trace: bool) -> int:
        """How many samples may go at once, so that neither they nor their answer outgrow the board's frames."""
        most = number(link.welcome, "stream_bytes", 0, 0, 2**53)
        sent = sum(8 * message[0].size for message in messages.values())
        got = _answered(program, trace)
        if max(sent, got) > most:
            raise RefusedError(
                "ND633",
                f"one sample takes {max(sent, got)} bytes, the board takes {int(most)} at once",
                help="run without --trace, or start the board's server with a higher --stream-limit",
            )
        return int(min(SAMPLES, most // max(sent, got, 1)))

    def _ask(
        self,
        link: Link,
        frame: Frame,
        wanted: str,
        deadline: float | None,
        *,
        limit: float | None = None,
        watch: Callable[[Frame], None] | None = None,
        body: int = 0,
    ) -> Frame:
        """The answer, or what the failure means to a user. body: bytes that it may have beside its header."""
        request = limit or self._patience.request
        left = failures.left(deadline, request)
        try:
            bounds = protocol.Bounds(protocol.HEADER_BYTES, body)
            answer = link.request(frame, min(left, request), watch=watch, bounds=bounds)
        except AnswerError as error:
            raise failures.said(error) from error
        except SlowError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise failures.out_of_time() from error
            raise failures.silent(error) from error
        except GoneError as error:
            raise failures.silent(error) from error
        except WireError as error:
            raise failures.broken(error) from error
        if answer.op != wanted:
            raise failures.broken(FrameError(f"'{answer.op}' is no answer to '{frame.op}'"))
        return answer


def _answered(program: Program, trace: bool) -> int:
    """Bytes of the answer to one sample and of its counters, at most."""
    shown = {port.population for port in program.outputs}
    values = sum(
        program.steps * p.size * ((1 + len(p.neuron.state) if trace else 0) + (p.name in shown))
        for p in program.populations
    )
    return 8 * (values + 4 * (len(program.populations) + len(program.projections) + len(program.products)))


def from_options(options: RunnerOptions) -> BoardRunner:
    """The runner of `--board`, or of NDEPLOY_BOARD. Raises UsageError ND621 where neither is given."""
    url = options.board or os.environ.get(BOARD, "")
    if not url:
        raise UsageError("ND621", "no board is named", help=f"give --board tcp://HOST:PORT, or set {BOARD}")
    return BoardRunner(url, os.environ.get(TOKEN, ""))


def status(options: RunnerOptions) -> dict[str, Any]:
    """How a board is: "runner", "features", "meter" (who measures, None for nobody), "busy", "waiting", "leases"
    (granted since it started).

    Raises UsageError ND621 or ND622, UnreachableError ND620, ND624 or ND625.
    """
    with from_options(options) as board:
        return board.status()
