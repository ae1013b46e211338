"""Running a whole data set: batches in, one result with accuracy and exact event counts out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from ndeploy.certainty import most_certain
from ndeploy.data import Data
from ndeploy.decode import encode, fitted
from ndeploy.errors import RunnerError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity, Counts, RunResult
from ndeploy.runners import Runner, RunnerOptions


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A result over all samples. accuracy: share of samples (of elements, where y is a sequence) predicted as y says;
    sequence_accuracy: share of samples whose whole sequence is; both None without y or without predictions."""

    result: RunResult
    accuracy: float | None
    sequence_accuracy: float | None

    @property
    def samples(self) -> int:
        return len(next(iter(self.result.outputs.values())))


def evaluate(
    program: Program,
    data: Data,
    runner: Runner,
    options: RunnerOptions,
    *,
    batch: int = 64,
    trace: bool = False,
    activity: bool = False,
) -> Evaluation:
    """Run every sample, `batch` at a time. activity: also sum up which neuron did what, where the runner can.

    Raises what `encode` and the runner raise, UsageError ND502 if y has not the shape of the predictions, RunnerError
    ND690 when `options.time_limit` seconds have passed between two batches.
    """
    began = time.monotonic()
    results = []
    total: Activity | None = None
    for start in range(0, len(data), batch):
        part = data.slice(start, start + batch)
        messages = encode(program, part.x, part.x_scale)
        left = _time_left(options, began, start, len(data))
        told = replace(options, time_limit=left, activity=activity)
        found = runner(program, messages, trace=trace, options=told)
        if found.activity is not None:  # as large as all neurons at all model steps: summed at once, not kept by batch
            total = found.activity if total is None else total + found.activity
        results.append(replace(found, activity=None))
        options.progress(f"{min(start + batch, len(data))} of {len(data)} samples")
    result = replace(join(results), activity=total)
    return Evaluation(result, *accuracies(result.predictions, data.y, program.outputs[0].decode))


def _time_left(options: RunnerOptions, began: float, done: int, samples: int) -> float | None:
    if options.time_limit is None:
        return None
    left = options.time_limit - (time.monotonic() - began)
    if left <= 0:
        raise RunnerError(
            "ND690",
            f"the time limit of {options.time_limit:g} s passed after {done} of {samples} samples",
            help="raise --time-limit, or run fewer samples with --limit",
        )
    return left


def accuracies(
    predictions: IntArray | None, y: IntArray | None, decode: str = "sum"
) -> tuple[float | None, float | None]:
    """(accuracy, sequence accuracy) as `Evaluation` defines them.

    A sequence that was read with "ctc" has no length of its own: it is cut, or padded with -1, to that of y;
    one that goes on beyond y is wrong as a whole.
    Raises UsageError ND502 on unequal shapes.
    """
    if predictions is None or y is None:
        return None, None
    longer: list[bool] | None = None
    if decode == "ctc" and y.ndim == 2:
        longer = [bool(row.any()) for row in predictions[:, y.shape[1] :] >= 0]
        predictions = fitted(predictions, y.shape[1])
    if predictions.shape != y.shape:
        raise UsageError(
            "ND502",
            f"y has shape {y.shape}, the network's predictions have {predictions.shape}",
            help="give one label a sample, or leave y out",
        )
    right = predictions == y
    if right.ndim == 1:
        return float(right.mean()), None
    whole = right.reshape(len(right), -1).all(axis=1)
    if longer is not None:
        whole &= ~np.array(longer)
    return float(right.mean()), float(whole.mean())


def beyond_classes(program: Program, y: IntArray | None) -> tuple[Diagnostic, ...]:
    """A warning where y holds classes that the network does not have: they count as wrong, whatever it answers."""
    port = program.outputs[0]
    classes = port.answer[-1] if port.answer else math.prod(program.population(port.population).shape)
    classes -= port.decode == "ctc"  # the last is the blank
    if y is None or port.decode == "none" or not y.size or 0 <= int(y.min()) <= int(y.max()) < classes:
        return ()
    return (
        Diagnostic(
            "ND502",
            f"y holds classes {int(y.min())} to {int(y.max())}, the network answers with 0 to {classes - 1}: "
            f"{int(((y < 0) | (y >= classes)).sum())} of {y.size} labels can only count as wrong",
            "number the classes as in training",
        ),
    )


def join(results: list[RunResult]) -> RunResult:
    """The results of consecutive batches as one; at least one."""
    first = results[0]
    activities = [r.activity for r in results if r.activity is not None]
    readings = [r.power for r in results if r.power is not None]
    predictions = [r.predictions for r in results if r.predictions is not None]
    return RunResult(
        outputs=_joined(r.outputs for r in results),
        predictions=np.concatenate(predictions) if predictions else None,
        counts=Counts(
            synaptic_ops=_joined(r.counts.synaptic_ops for r in results),
            spikes=_joined(r.counts.spikes for r in results),
            neuron_updates=_joined(r.counts.neuron_updates for r in results),
            embedded_ops=_joined(r.counts.embedded_ops for r in results),
        ),
        chip_steps=first.chip_steps,
        seconds=sum(r.seconds for r in results),
        traces=_joined(r.traces for r in results),
        overflow=merged_overflow(r.overflow for r in results),
        activity=reduce(add, activities) if len(activities) == len(results) else None,
        power=reduce(add, readings) if len(readings) == len(results) else None,
    )


def _joined(parts: Iterable[Mapping[str, IntArray]]) -> dict[str, IntArray]:
    lists: dict[str, list[IntArray]] = {}
    for part in parts:
        for name, value in part.items():
            lists.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in lists.items()}


def merged_overflow(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Overflow events of several runs, added up."""
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for population, events in part.items():
            where = total.setdefault(population, {})
            for event, n in events.items():
                where[event] = where.get(event, 0) + n
    return total


def mean_per_sample(counts: Mapping[str, IntArray]) -> float:
    """Events of one kind a sample: the exact sum over everything that counts them, divided once."""
    samples = max((len(value) for value in counts.values()), default=0)
    return sum(int(value.sum()) for value in counts.values()) / samples if samples else 0.0


def certain_ticks(program: Program, evaluation: Evaluation) -> IntArray | None:
    """The most certain tick of every sample, (samples,), counted from 1; None where the answer is not read there."""
    port = program.outputs[0]
    if port.decode != "most-certain":
        return None
    return most_certain(evaluation.result.outputs[port.population], port.answer, port.scale) + 1
