"""Two executions of one program, compared value by value: every population, every model step, all state.

The messages of input populations are what the host sends to both, so they are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.errors import RunnerError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Input
from ndeploy.runners import Runner, RunnerOptions

TRACE_BYTES = 1 << 28
"""Traces of one batch of one runner stay below this, if a single sample's do."""


@dataclass(frozen=True)
class Mismatch:
    """The first value that differs: the earliest sample, chip step, and population in program order.

    variable: "message" or a state variable. chip_step: from the sample's start. values: by runner.
    """

    population: str
    variable: str
    sample: int
    model_step: int
    chip_step: int
    neuron: tuple[int, ...]
    values: Mapping[str, int]


@dataclass(frozen=True)
class Verification:
    """compared, mismatches: values; by_population: mismatching values; seconds: by runner."""

    samples: int
    populations: int
    compared: int
    mismatches: int
    first_mismatch: Mismatch | None
    by_population: Mapping[str, int]
    seconds: Mapping[str, float]


def verify(program: Program, data: Data, runners: Mapping[str, Runner], options: RunnerOptions) -> Verification:
    """Run the samples on both runners and compare.

    runners: two, by name; the first is the reference. Raises what the runners raise, and RunnerError ND691 if one of
    them leaves out a population or answers with another shape.
    """
    (reference, first), (other, second) = runners.items()
    compared = mismatches = 0
    earliest: Mismatch | None = None
    by_population = {p.name: 0 for p in program.populations if not isinstance(p.neuron, Input)}
    seconds = {reference: 0.0, other: 0.0}
    batch = batch_size(program)
    for start in range(0, len(data), batch):
        part = data.slice(start, start + batch)
        messages = encode(program, part.x, part.x_scale)
        traces: dict[str, Mapping[str, IntArray]] = {}
        for name, runner in ((reference, first), (other, second)):
            watched = replace(options, progress=_named(options.progress, name))
            result = runner(program, messages, trace=True, options=watched)
            traces[name] = result.traces
            seconds[name] += result.seconds
        for population in program.populations:
            if isinstance(population.neuron, Input):
                continue
            for variable, key in _variables(population):
                left, right = _pair(program, population, key, len(part), traces)
                differ = left != right
                compared += differ.size
                n = int(np.count_nonzero(differ))
                mismatches += n
                by_population[population.name] += n
                if n:
                    found = _first(program, population, variable, differ, start, {reference: left, other: right})
                    if earliest is None or _when(found) < _when(earliest):
                        earliest = found
        options.progress(f"{min(start + batch, len(data))} of {len(data)} samples, {mismatches} mismatches")
    return Verification(len(data), len(by_population), compared, mismatches, earliest, by_population, seconds)


def _named(progress: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda line: progress(f"{name}: {line}")


def batch_size(program: Program) -> int:
    """Samples whose traces fit in TRACE_BYTES, 1 to 64."""
    values = sum(p.size * (1 + len(p.neuron.state)) for p in program.populations)
    return max(1, min(64, TRACE_BYTES // (values * program.steps * 8)))


def _variables(population: Population) -> list[tuple[str, str]]:
    """(variable, trace key) of everything a population shows."""
    name = population.name
    return [("message", f"spikes/{name}"), *((v, f"state/{name}/{v}") for v in population.neuron.state)]


def _pair(
    program: Program, population: Population, key: str, samples: int, traces: Mapping[str, Mapping[str, IntArray]]
) -> list[IntArray]:
    shape = (samples, program.steps, *population.shape)
    pair = []
    for runner, trace in traces.items():
        if key not in trace or trace[key].shape != shape:
            what = f"shape {trace[key].shape} instead of {shape}" if key in trace else "nothing"
            raise RunnerError(
                "ND691",
                f"runner '{runner}' answered {what} for '{key}'",
                help="a runner must trace every population; report this against the runner",
            )
        pair.append(trace[key])
    return pair


def _first(
    program: Program,
    population: Population,
    variable: str,
    differ: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    start: int,
    values: Mapping[str, IntArray],
) -> Mismatch:
    index = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), differ.shape))
    sample, step, *neuron = index
    return Mismatch(
        population=population.name,
        variable=variable,
        sample=start + sample,
        model_step=step,
        chip_step=population.offset + step * program.period,
        neuron=tuple(neuron),
        values={runner: int(trace[index]) for runner, trace in values.items()},
    )


def _when(mismatch: Mismatch) -> tuple[int, int]:
    return mismatch.sample, mismatch.chip_step
