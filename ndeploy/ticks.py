"""Per-tick verification: how far the integers are from the float network, signal by signal, tick by tick.

Accuracy hides what is wrong: an image network keeps answering right with half its signals broken. Here every signal's
SQNR (the power of the float values over the power of the difference, in dB) is taken at every tick, over all samples
and neurons, and the first tick that is worse than its bound is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ndeploy.certainty import answers, most_certain
from ndeploy.data import Data
from ndeploy.decode import encode, outputs_and_predictions, predict
from ndeploy.errors import RunnerError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import OutputPort, Population, Program
from ndeploy.neurons import CubaLi, Input
from ndeploy.runners import Runner, RunnerOptions
from ndeploy.verify import batch_size

DEFAULT_SIGNALS = ("pre", "post", "synch_action", "synch_out", "attention")
"""What is compared where nobody asks for more, beside the outputs."""

LIMIT = 300.0
"""dB: float64 holds no more than 313; equal values are reported as this, differences from silence as minus this."""

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Floats:
    """What the float side says of some samples: signals by name, (samples, ticks, ...); output of the first port."""

    signals: Mapping[str, AnyArray]
    output: AnyArray | None


class Source(Protocol):
    """The float side."""

    def floats(self, part: Data, start: int) -> Floats:
        """Of the samples `part`, the first of which is sample `start`."""


@dataclass(frozen=True)
class Signal:
    """SQNR in dB of every tick, within +-LIMIT."""

    name: str
    sqnr: tuple[float, ...]


@dataclass(frozen=True)
class Agreement:
    """Shares of 0 to 1. argmax: of every tick's answers, position by position; answers: of samples with the same answer
    as a whole, None where the output is not decoded; certain_ticks: of samples with the same most certain tick, None
    where the output is not read tick by tick."""

    argmax: tuple[float, ...]
    answers: float | None
    certain_ticks: float | None


@dataclass(frozen=True)
class TickReport:
    """missing: signals of the float side that the program does not have. first_below: the earliest tick, then signal in
    the order listed, whose SQNR is less than min_sqnr."""

    samples: int
    ticks: int
    signals: tuple[Signal, ...]
    agreement: Agreement | None
    min_sqnr: float
    missing: tuple[str, ...] = ()

    @property
    def first_below(self) -> tuple[int, Signal] | None:
        for tick in range(self.ticks):
            for signal in self.signals:
                if signal.sqnr[tick] < self.min_sqnr:
                    return tick, signal
        return None


@dataclass
class _Sums:
    """What is added up over batches: powers by signal, hits by tick, and samples that agree."""

    power: dict[str, FloatArray] = field(default_factory=dict)
    noise: dict[str, FloatArray] = field(default_factory=dict)
    hits: FloatArray | None = None
    positions: int = 0
    same_answer: int | None = None
    same_tick: int | None = None
    missing: set[str] = field(default_factory=set)

    def add(self, name: str, real: FloatArray, wanted: FloatArray) -> None:
        """Values of one signal, (samples, ticks, neurons) each."""
        for into, value in ((self.power, wanted), (self.noise, wanted - real)):
            into[name] = into.get(name, np.zeros(wanted.shape[1])) + (value**2).sum(axis=(0, 2))


def compare(
    program: Program,
    data: Data,
    source: Source,
    runner: Runner,
    options: RunnerOptions,
    *,
    signals: Sequence[str] | None = None,
    min_sqnr: float = 15.0,
) -> TickReport:
    """Run the samples on the runner and compare them with the float side.

    signals: names to compare; () for all that both sides have; None for `DEFAULT_SIGNALS`. The first output is always
    compared where the float side has it. Raises UsageError ND506 (no such signal), ND502 (shapes or ticks differ),
    RunnerError ND691 (a runner leaves a signal out), and what encoding and the runner raise.
    """
    sums = _Sums()
    batch = batch_size(program)
    for start in range(0, len(data), batch):
        part = data.slice(start, start + batch)
        wanted = source.floats(part, start)
        result = runner(program, encode(program, part.x, part.x_scale), trace=True, options=options)
        chosen = _chosen(program, wanted, signals, sums)
        for name in chosen:
            population = program.population(name)
            real = _real(program, population, result.traces)
            sums.add(name, real, _fitting(name, wanted.signals[name], real))
        if wanted.output is not None:
            _compare_output(program, wanted.output, result.traces, sums, chosen)
        options.progress(f"{min(start + batch, len(data))} of {len(data)} samples")
    if not sums.power:
        raise UsageError(
            "ND506",
            "the two sides have no signal in common",
            help="compare an artifact with the float values of the same model",
        )
    levels = tuple(Signal(name, _decibels(power, sums.noise[name])) for name, power in sums.power.items())
    return TickReport(
        len(data), program.steps, levels, _agreement(sums, len(data)), min_sqnr, tuple(sorted(sums.missing))
    )


def _chosen(program: Program, wanted: Floats, asked: Sequence[str] | None, sums: _Sums) -> list[str]:
    """Names to compare, in the order asked for or of the program."""
    there = {p.name: p for p in program.populations if not isinstance(p.neuron, Input) and p.neuron.message.bits}
    if asked:
        for name in asked:
            if name not in there or name not in wanted.signals:
                where = "program" if name not in there else "float side"
                both = ", ".join(sorted(set(there) & set(wanted.signals)))
                raise UsageError(
                    "ND506", f"signal '{name}': the {where} has none of that name", help=f"there are: {both or 'none'}"
                )
        return list(asked)
    if asked is None:
        sums.missing |= {name for name in DEFAULT_SIGNALS if name in wanted.signals and name not in there}
        return [name for name in DEFAULT_SIGNALS if name in there and name in wanted.signals]
    # "all": a node and a population of one name may still mean different things (a spiking readout's input)
    return [
        name
        for name, p in there.items()
        if name in wanted.signals and int(np.prod(wanted.signals[name].shape[2:])) == p.size
    ]


def message_scale(population: Population) -> FloatArray:
    """Real value of one unit of what the population sends: spikes of neurons with a membrane stand for themselves, a
    membrane is sent without its lowest bits."""
    neuron, message = population.neuron, population.neuron.message
    if isinstance(neuron, CubaLi) and neuron.emit_bits:
        return np.asarray(population.scale, dtype=np.float64) * 2.0**neuron.emit_shift
    spikes = "v" in population.neuron.state or (message.bits == 1 and not message.signed)
    return np.asarray(1.0 if spikes else population.scale, dtype=np.float64)


def _traced(program: Program, population: Population, key: str, traces: Mapping[str, IntArray]) -> IntArray:
    if key not in traces or traces[key].shape[1:] != (program.steps, *population.shape):
        raise RunnerError(
            "ND691",
            f"the runner did not answer with '{key}' of shape (samples, {program.steps}, *{population.shape})",
            help="a runner must trace every population; report this against the runner",
        )
    return traces[key]


def _real(program: Program, population: Population, traces: Mapping[str, IntArray]) -> FloatArray:
    """What the population sends, in real values: (samples, ticks, neurons). One that has stopped keeps its last."""
    sent = _traced(program, population, f"spikes/{population.name}", traces) * message_scale(population)
    if population.updates is not None and population.updates < program.steps:
        sent = sent[:, np.minimum(np.arange(program.steps), population.updates - 1)]
    return np.asarray(sent, dtype=np.float64).reshape(*sent.shape[:2], -1)


def _fitting(name: str, wanted: AnyArray, real: FloatArray) -> FloatArray:
    """The float values (samples, ticks, ...) as (samples, ticks, neurons). Raises UsageError ND502."""
    flat = wanted.reshape(*wanted.shape[:2], -1)
    if flat.shape != real.shape:
        raise UsageError(
            "ND502",
            f"signal '{name}': the float side has {flat.shape[0]} samples, {flat.shape[1]} ticks and {flat.shape[2]} "
            f"values, the program {real.shape[0]}, {real.shape[1]} and {real.shape[2]}",
            help="compile with as many --steps as the float side has ticks, and compare the same model",
        )
    return flat.astype(np.float64)


def _compare_output(
    program: Program, wanted: AnyArray, traces: Mapping[str, IntArray], sums: _Sums, compared: Sequence[str]
) -> None:
    port = program.outputs[0]
    population = program.population(port.population)
    sent = port.variable == "message"
    key = f"spikes/{port.population}" if sent else f"state/{port.population}/{port.variable}"
    output = _traced(program, population, key, traces)
    scale = message_scale(population) if sent else np.asarray(population.scale, dtype=np.float64)
    real = np.asarray(output * scale, dtype=np.float64).reshape(*output.shape[:2], -1)
    floats = _fitting(port.population, wanted, real)
    if port.population not in compared:
        sums.add(port.population if sent else f"{port.population}.{port.variable}", real, floats)
    _compare_answers(port, output, floats.reshape(output.shape), outputs_and_predictions(program, traces)[1], sums)


def _compare_answers(
    port: OutputPort, output: IntArray, floats: FloatArray, found: IntArray | None, sums: _Sums
) -> None:
    ours, theirs = (answers(v, port.answer).argmax(axis=-1) for v in (output, floats))
    hits = (ours == theirs).sum(axis=(0, 2)).astype(np.float64)
    sums.hits = hits if sums.hits is None else sums.hits + hits
    sums.positions += ours.shape[0] * ours.shape[2]
    wanted = predict(floats, port.decode, port.answer)
    if found is not None and wanted is not None:
        same = (found == wanted).reshape(len(found), -1).all(axis=1)
        sums.same_answer = (sums.same_answer or 0) + int(same.sum())
    if port.decode in ("most-certain", "ctc"):
        tick = most_certain(output, port.answer, port.scale) == most_certain(floats, port.answer)
        sums.same_tick = (sums.same_tick or 0) + int(tick.sum())


def _agreement(sums: _Sums, samples: int) -> Agreement | None:
    if sums.hits is None:
        return None
    shares = [None if n is None else n / samples for n in (sums.same_answer, sums.same_tick)]
    return Agreement(tuple((sums.hits / sums.positions).tolist()), *shares)


def _decibels(power: FloatArray, noise: FloatArray) -> tuple[float, ...]:
    return tuple(decibels(float(p), float(n)) for p, n in zip(power, noise, strict=True))


def decibels(power: float, noise: float) -> float:
    """10 log10(power / noise) within +-LIMIT: the limit for equal values, its negative for noise alone and for what is
    not finite."""
    if not (math.isfinite(power) and math.isfinite(noise)):
        return -LIMIT
    if noise == 0:
        return LIMIT
    if power == 0:
        return -LIMIT
    return max(-LIMIT, min(LIMIT, 10 * (math.log10(power) - math.log10(noise))))
