"""Run a program on many samples: chunks of samples, over threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.decode import outputs_and_predictions
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.result import Counts, RunResult
from ndeploy.sim.activity import Tally
from ndeploy.sim.chunk import ChunkResult, run_chunk
from ndeploy.sim.plan import SMALL_WORK, Plan, plan_for, work

Array = npt.NDArray[Any]
LEAST_CALL = 1e8
"""Work (as `plan.work` counts it) of one member of a component in one step from which threads pay."""
CHUNK_BYTES = 2**27
"""Messages of all populations of the samples that one thread holds at a time."""


def run(
    program: Program,
    messages: Mapping[str, Array],
    *,
    trace: bool = False,
    threads: int | None = None,
    counts: bool = True,
    kernels: str = "auto",
    chunk: int | None = None,
    traces: Collection[str] = (),
    activity: bool = False,
) -> RunResult:
    """What the oracle answers, fast; equal to it in every output, trace, count and overflow.

    messages: by input population, integers of any width, (samples, steps, *shape). trace: also return every message and
    state variable; traces: only these ("spikes/<population>", "state/<population>/<variable>"). threads: samples are
    spread over them, all cores by default; results do not depend on it. counts: False leaves the event counts empty.
    activity: also answer which neuron did what at which model step. kernels: "compiled" (torch and numba), "numpy", or
    "auto", which takes numpy where it would end before the others are imported. chunk: samples a thread evaluates
    together, by default what fits CHUNK_BYTES. The result's seconds are those of the run: making a program ready for
    its first (torch, kernels, the layout of weights), which takes seconds whatever the number of samples, is not in
    them.
    Raises UsageError ND502 if messages do not match the program's inputs, ND503 if there are no samples.
    """
    samples = _check(program, messages)
    compiled = kernels == "compiled" or (kernels == "auto" and work(program, samples) > SMALL_WORK)
    plan = plan_for(program, compiled)
    workers = max(1, min(threads or _cores(), samples))
    if threads is None and compiled and _is_fine_grained(plan, samples / workers):
        workers = 1
    size = min(chunk or _chunk_size(program, compiled), -(-samples // workers))
    ranges = [slice(first, min(samples, first + size)) for first in range(0, samples, size)]
    wanted = _wanted(program, trace) | set(traces)

    def one(part: slice, tally: Tally | None) -> ChunkResult:
        return run_chunk(plan, {name: m[part] for name, m in messages.items()}, wanted, counts, tally)

    if compiled and not plan.ready and samples > 1:
        _spread(partial(one, tally=Tally() if activity else None), [slice(0, 1)], 1, plan)
        plan.ready = True
    began = time.perf_counter()
    tally = Tally() if activity else None
    parts = _spread(partial(one, tally=tally), ranges, workers, plan)
    joined = {key: np.concatenate([p.traces[key] for p in parts]) for key in parts[0].traces}
    outputs, predictions = outputs_and_predictions(program, joined)
    return RunResult(
        outputs=outputs,
        predictions=predictions,
        counts=_counts(parts),
        chip_steps=program.chip_steps_per_sample,
        seconds=time.perf_counter() - began,
        traces=joined if trace else {key: joined[key] for key in traces},
        overflow=_overflow(parts),
        activity=None if tally is None else tally.activity(plan, samples),
    )


def _check(program: Program, messages: Mapping[str, Array]) -> int:
    """Number of samples; every input population must have messages of its shape."""
    found: set[int] = set()
    for port in program.inputs:
        population = program.population(port.population)
        given = messages.get(port.population)
        want = (program.steps, *population.shape)
        if given is None or given.shape[1:] != want or given.dtype.kind not in "biu":
            what = "nothing" if given is None else f"{given.dtype} {given.shape[1:]}"
            raise UsageError(
                "ND502",
                f"input '{population.name}': a sample is {what}, the program takes integers of shape {want}",
                help="encode the data with ndeploy.decode.encode, or reshape it",
            )
        found.add(len(given))
    if len(found) > 1:
        raise UsageError(
            "ND502", f"inputs differ in samples: {sorted(found)}", help="give every input the same samples"
        )
    if found == {0}:
        raise UsageError("ND503", "the data holds no samples", help="give at least one sample")
    return found.pop()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_fine_grained(plan: Plan, samples: float) -> bool:
    """Whether kernels of a recurrent component are so short that threads would mostly wait for the interpreter: it
    steps through its members at every model step (measured: half the speed on two threads, small CTMs)."""
    calls = plan.program.steps * sum(len(c.populations) for c in plan.schedule.components if c.recurrent)
    return calls > 0 and work(plan.program, 1) * samples / calls < LEAST_CALL


def _chunk_size(program: Program, compiled: bool) -> int:
    width = 2 if compiled else 16
    return max(1, CHUNK_BYTES // max(1, program.steps * sum(p.size for p in program.populations) * width))


def _wanted(program: Program, trace: bool) -> set[str]:
    """Names of the traces that are needed: all of them, or those of the outputs."""
    if trace:
        wanted = {f"spikes/{p.name}" for p in program.populations}
        return wanted | {f"state/{p.name}/{variable}" for p in program.populations for variable in p.neuron.state}
    return {
        f"spikes/{port.population}" if port.variable == "message" else f"state/{port.population}/{port.variable}"
        for port in program.outputs
    }


def _spread(
    one: Callable[[slice], ChunkResult], ranges: Sequence[slice], workers: int, plan: Plan
) -> list[ChunkResult]:
    """Every chunk, in order. torch keeps to one thread inside a worker: the samples are what is spread."""
    if not plan.compiled:
        return [one(part) for part in ranges]
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            if workers == 1 or len(ranges) == 1:
                return [one(part) for part in ranges]

        def alone(part: slice) -> ChunkResult:
            torch.set_num_threads(1)
            with torch.inference_mode():
                return one(part)

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(alone, ranges))
    finally:
        torch.set_num_threads(before)


def _counts(parts: Sequence[ChunkResult]) -> Counts:
    def joined(kind: str) -> dict[str, npt.NDArray[np.int64]]:
        first: dict[str, Array] = getattr(parts[0], kind)
        return {name: np.concatenate([getattr(p, kind)[name] for p in parts]) for name in first}

    return Counts(joined("synaptic_ops"), joined("spikes"), joined("neuron_updates"), joined("embedded_ops"))


def _overflow(parts: Sequence[ChunkResult]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for population, events in part.overflow.items():
            where = total.setdefault(population, {})
            for event, n in events.items():
                where[event] = where.get(event, 0) + n
    return total
