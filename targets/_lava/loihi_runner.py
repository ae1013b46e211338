"""Runs a Program on a Loihi through Lava's run configuration for the chip. Untested on hardware (docs/loihi.md).

Lease (a lock), program (build and compile), stream in and out, read the energy, release. It runs in the Lava worker,
with its limits of time and its tracebacks; nothing of it falls back to a simulation.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ndeploy.targets._lava import loihi_plan
from ndeploy.targets._lava.loihi_lease import Lease, board
from ndeploy.targets._lava.loihi_meter import SWITCH
from ndeploy.targets._lava.runner import all_traces, wanted_of
from ndeploy.targets._lava.session import Session

from ndeploy.counts import count
from ndeploy.decode import outputs_and_predictions
from ndeploy.errors import NdeployError, RunnerError, UnreachableError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import PowerReading, RunResult
from ndeploy.neurons import Input
from ndeploy.runners import Runner, RunnerOptions

LATE = "NDEPLOY_LOIHI_STEPS"
"""Environment variable: chip steps that a message takes into the chip and out of it, "IN,OUT"; 0,0 where not given."""
LARGEST_LATE = 1000
STALL_SECONDS = 1800.0
"""A board that shows no chip step for so long hangs. Compiling and configuring a chip shows none."""
GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
"""Of Loihi 2: lava-nc 0.10.0, lava/utils/loihi.py. N2A2 is a Loihi 1, for which there is another run configuration."""
SWITCHES = {"": True, "on": True, "off": False}


@contextmanager
def opened(options: RunnerOptions) -> Iterator[Runner]:
    """The runner for several calls. The board is leased at the first call and given back at the end.

    Raises UsageError ND602, ND679, UnreachableError ND603, ND604, ND675, ND677, ND678.
    """
    with Lease(board(os.environ)) as lease:
        loihi = Loihi(lease, options)
        try:
            yield loihi
        finally:
            loihi.close()


class Loihi:
    """A worker with lava-loihi, and the lease. Started when first called, anew after a failure."""

    def __init__(self, lease: Lease, options: RunnerOptions) -> None:
        self._lease = lease
        self._python, self._threads = options.lava_python, options.threads
        _check_generation(os.environ.get("LOIHI_GEN", GENERATIONS[1]))
        self._late, self._meter = _late(os.environ.get(LATE, "")), _switch(os.environ.get(SWITCH, ""))
        self._session: Session | None = None

    def close(self) -> None:
        """End the worker; the lease is its owner's."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        """messages: int64 (samples, steps, *shape) by input population. All messages of all populations are read from
        the chip, with `trace` all state too; the counts are worked out from the messages.

        Raises RefusedError ND676 (parts that no chip process computes), UnreachableError ND675 (no lava-loihi), ND677
        (the lease), ND678 (the board, or what drives it), RunnerError ND607 (options.time_limit).
        """
        began = time.perf_counter()
        loihi_plan.chip_plan(program)
        _fits(program, messages)
        deadline = None if options.time_limit is None else time.monotonic() + options.time_limit
        session = self._started(options.progress)
        self._lease.acquire(_left(deadline), options.progress)
        try:
            read = session.run(
                program,
                messages,
                wanted_of(program, trace),
                "loihi",
                time_limit=_left(deadline),
                late=self._late,
                meter=self._meter,
            )
        except RunnerError as error:
            self.close()
            raise _failed(error, deadline) from error
        except BaseException:
            self.close()
            raise
        traces = all_traces(program, messages, read)
        outputs, predictions = outputs_and_predictions(program, traces)
        power = _power(session.done, len(next(iter(messages.values()))))
        if power is None:
            options.progress(f"no energy was read: {session.done['meter']}")
        return RunResult(
            outputs=outputs,
            predictions=predictions,
            counts=count(program, traces),
            chip_steps=program.chip_steps_per_sample,
            seconds=time.perf_counter() - began,
            traces=traces if trace else {},
            power=power,
        )

    def _started(self, progress: Callable[[str], None]) -> Session:
        if self._session is None:
            self._session = Session(
                self._python,
                transport="processes",  # Lava's own: its channels to a chip are between processes
                stall=STALL_SECONDS,
                threads=self._threads,
                progress=progress,
                chip=True,
                inherit=self._lease.descriptor,
            )
        return self._session


def _power(done: Mapping[str, Any], samples: int) -> PowerReading | None:
    if done["power"] is None:
        return None
    joules, seconds = done["power"]
    return PowerReading(joules, seconds, samples, f"{done['meter']}, {board(os.environ)}")


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _failed(error: RunnerError, deadline: float | None) -> NdeployError:
    """What a worker's failure is where it drives a board: the board's, unless our own limit of time ended it."""
    if error.code == "ND607" and deadline is not None and time.monotonic() >= deadline:
        return error
    return UnreachableError(
        "ND678",
        f"a Loihi ({board(os.environ)}) failed while it ran, or what drives it: {error.message}",
        help="read the traceback, see whether the board is up, and run once more",
    )


def _fits(program: Program, messages: Mapping[str, IntArray]) -> None:
    """Inputs pass into the chip whole. Raises RefusedError ND676."""
    refusals = []
    for population in program.populations:
        message = messages.get(population.name)
        if isinstance(population.neuron, Input) and message is not None and message.size:
            kind = population.neuron.message
            low, high = int(message.min()), int(message.max())
            if low < kind.low or high > kind.high:
                why = f"messages {low} to {high}, it declares {kind.low} to {kind.high}"
                refusals.append(loihi_plan.Refusal(population.name, why))
    if refusals:
        raise loihi_plan.refused(refusals)


def _late(text: str) -> tuple[int, int]:
    """Chip steps in and out. Raises UsageError ND679."""
    if not text:
        return 0, 0
    steps = [int(part) for part in text.split(",")] if re.fullmatch(r"[0-9]{1,4},[0-9]{1,4}", text) else []
    if not steps or max(steps) > LARGEST_LATE:
        raise UsageError(
            "ND679", f"{LATE}={text[:40]!r} is no pair IN,OUT of chip steps", help=f"say {LATE}=0,1 for instance"
        )
    return steps[0], steps[1]


def _check_generation(text: str) -> None:
    """Raises UsageError ND679."""
    if text not in GENERATIONS:
        raise UsageError("ND679", f"LOIHI_GEN={text[:40]!r} is no Loihi 2", help=f"say one of {', '.join(GENERATIONS)}")


def _switch(text: str) -> bool:
    """Raises UsageError ND679."""
    if text not in SWITCHES:
        raise UsageError("ND679", f"{SWITCH}={text[:40]!r} is neither on nor off", help="say on or off")
    return SWITCHES[text]
