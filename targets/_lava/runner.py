"""Runs a Program in Lava and answers what every runner answers."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ndeploy.targets._lava.plan import describe
from ndeploy.targets._lava.schedule import updates_of
from ndeploy.targets._lava.session import Session

from ndeploy.counts import count
from ndeploy.decode import outputs_and_predictions
from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.neurons import Input
from ndeploy.runners import RunnerOptions

MODES = ("native", "fused")
TRANSPORT_VARIABLE = "NDEPLOY_LAVA_TRANSPORT"
"""Environment variable: "threads" (default) or "processes", Lava's own messages between OS processes."""
FUSED_NEURONS = 4_000_000
"""Neurons side by side in one fused run; more samples run in several runs."""
INT32 = 2**31

__all__ = ["LavaRun", "describe", "execute", "run"]


@dataclass(frozen=True)
class LavaRun:
    """How to run: see Session and RunnerOptions."""

    mode: str = "native"
    trace: bool = True


def run(
    program: Program, messages: Mapping[str, IntArray], *, trace: bool = False, options: RunnerOptions | None = None
) -> RunResult:
    """Execute in lava-nc, in a worker process of its own.

    messages: int64 (samples, steps, *shape) by input population. With trace, every population's messages and state at
    every model step. Raises UsageError ND602, ND608, RefusedError ND609, UnreachableError ND603 or ND604, RunnerError
    ND605, ND606 or ND607.
    """
    options = options or RunnerOptions()
    began = time.perf_counter()
    with Session(
        options.lava_python,
        transport=os.environ.get(TRANSPORT_VARIABLE, "threads"),
        time_limit=options.time_limit,
        threads=options.threads,
        progress=options.progress,
    ) as session:
        return execute(session, program, messages, LavaRun(options.lava_mode, trace), began)


def execute(
    session: Session, program: Program, messages: Mapping[str, IntArray], how: LavaRun, began: float | None = None
) -> RunResult:
    """The same on a worker that runs already."""
    began = time.perf_counter() if began is None else began
    if how.mode not in MODES:
        raise UsageError("ND608", f"no Lava mode '{how.mode}'", help=f"choose one of {', '.join(MODES)}")
    for name, message in messages.items():
        if message.size and (message.max() >= INT32 or message.min() < -INT32):
            raise RefusedError("ND609", f"input '{name}' leaves 32 bits", help="Lava's channels hold 32 bits")
    traces = dict(_traces(session, program, messages, how))
    outputs, predictions = outputs_and_predictions(program, traces)
    return RunResult(
        outputs=outputs,
        predictions=predictions,
        counts=count(program, traces),
        chip_steps=program.chip_steps_per_sample,
        seconds=time.perf_counter() - began,
        traces=traces if how.trace else {},
    )


def _traces(
    session: Session, program: Program, messages: Mapping[str, IntArray], how: LavaRun
) -> Mapping[str, IntArray]:
    """Traces of all samples; those of input populations are what was sent."""
    import numpy as np

    wanted = wanted_of(program, how.trace)
    samples = len(next(iter(messages.values())))
    neurons = sum(p.size for p in program.populations)
    at_once = max(1, FUSED_NEURONS // neurons) if how.mode == "fused" else samples
    parts = [
        session.run(program, {name: m[i : i + at_once] for name, m in messages.items()}, wanted, how.mode)
        for i in range(0, samples, at_once)
    ]
    return all_traces(program, messages, {key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def all_traces(
    program: Program, messages: Mapping[str, IntArray], recorded: Mapping[str, IntArray]
) -> dict[str, IntArray]:
    """What was recorded, and what the input populations sent."""
    import numpy as np

    traces = dict(recorded)
    for name, message in messages.items():
        sent = np.array(message, dtype=np.int64)
        sent[:, updates_of(program, program.population(name)) :] = 0
        traces[f"spikes/{name}"] = sent
    return traces


def wanted_of(program: Program, trace: bool) -> dict[str, list[str]]:
    """What to record: all messages (events are counted from them), and states if traced or read by an output."""
    read = {(port.population, port.variable) for port in program.outputs}
    return {
        p.name: ["message"] + [v for v in p.neuron.state if trace or (p.name, v) in read]
        for p in program.populations
        if not isinstance(p.neuron, Input)
    }
