"""Hashes of every message of a population: one in all, one a model step, one a sample, so that a difference has a
place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity, RunResult
from ndeploy.runners import Runner, RunnerOptions

SHORT = 8
"""Hexadecimal digits of the hashes by step and by sample: they say where, the whole hash says whether."""
SENT, ANSWERS = " (messages of all samples)", " (answers of all samples)"
"""Ends of names: of how often each neuron sent at each model step, summed over all samples, and of what is read at the
outputs. They show what no traced sample shows."""
MOST_SAMPLES = 1024
"""Of answers, whose hashes by sample are kept."""


@dataclass(frozen=True)
class Trail:
    """spikes: hash of all messages of the samples traced; steps, samples: by model step and by sample."""

    spikes: str
    steps: tuple[str, ...]
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Divergence:
    """The earliest place where messages are not those of the baseline, by chip step, then by program order."""

    population: str
    model_step: int
    chip_step: int
    samples: tuple[int, ...]
    of: str = ""

    def __str__(self) -> str:
        few = ", ".join(str(sample) for sample in self.samples[:4])
        which = (
            f"sample {few}" if len(self.samples) == 1 else f"samples {few}{', ...' if len(self.samples) > 4 else ''}"
        )
        when = f"at model step {self.model_step} (chip step {self.chip_step})"
        return f"first in population '{self.population}' {when}{self.of}" + (f", {which}" if self.samples else "")


@dataclass
class Recorder:
    """A runner that keeps the messages that another runner answers with, batch by batch."""

    runner: Runner
    kept: list[Mapping[str, IntArray]] = field(default_factory=list)

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        result = self.runner(program, messages, trace=trace, options=options)
        self.kept.append({key: value for key, value in result.traces.items() if key.startswith("spikes/")})
        return result

    def trails(self) -> dict[str, Trail]:
        """Of all batches together, by population."""
        names = list(self.kept[0]) if self.kept else []
        joined = {name: np.concatenate([part[name] for part in self.kept]) for name in names}
        return {name.removeprefix("spikes/"): trail(value) for name, value in joined.items()}


def trail(messages: IntArray) -> Trail:
    """Of messages (samples, model steps, ...)."""
    values = np.ascontiguousarray(messages, dtype="<i8")
    samples, steps = values.shape[:2]
    whole = hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()
    return Trail(
        whole,
        tuple(_short(values[:, step]) for step in range(steps)),
        tuple(_short(values[sample]) for sample in range(samples)),
    )


def of_all(outputs: Mapping[str, IntArray], activity: Activity | None) -> dict[str, Trail]:
    """Of all samples, traced or not. outputs: (samples, model steps, ...) by population; activity: None where the
    runner keeps none."""
    found = {}
    for name, values in outputs.items():
        made = trail(values)
        found[f"{name}{ANSWERS}"] = made if len(values) <= MOST_SAMPLES else replace(made, samples=())
    for name, sums in {} if activity is None else activity.messages.items():
        found[f"{name}{SENT}"] = replace(trail(sums[None]), samples=())
    return found


def apart(simulated: RunResult, found: RunResult, runner: str) -> str:
    """Where a runner's answers, or its counts of messages, are not the simulator's, over all samples, traced or not;
    "" where they are."""
    for name, wanted in simulated.outputs.items():
        values = found.outputs.get(name)
        if values is None or values.shape != wanted.shape:
            return f"population '{name}': {runner} answers with other steps or neurons than the simulator"
        at = np.argwhere(values != wanted)
        if len(at):
            sample, step, *neuron = (int(i) for i in at[0])
            said = f"sim {int(wanted[tuple(at[0])])}, {runner} {int(values[tuple(at[0])])}"
            return f"sample {sample}, model step {step}, population '{name}', neuron {neuron}: the answer is {said}"
    for name, wanted in simulated.counts.spikes.items():
        sums = found.counts.spikes.get(name)
        if sums is not None and sums.shape == wanted.shape and (sums != wanted).any():
            sample = int(np.flatnonzero(sums != wanted)[0])
            said = f"sim {int(wanted[sample])}, {runner} {int(sums[sample])}"
            return f"sample {sample}, population '{name}': messages sent: {said}"
    return ""


def differing(before: Mapping[str, Trail], after: Mapping[str, Trail]) -> list[str]:
    """Names whose trails differ, or that one side lacks; what a side lacks for all populations is not compared."""
    names = dict.fromkeys((*after, *before))
    lacking = {end for end in (SENT, ANSWERS) for side in (before, after) if not any(n.endswith(end) for n in side)}
    return [n for n in names if before.get(n) != after.get(n) and not n.endswith(tuple(lacking))]


def _short(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:SHORT]


def first_divergence(
    before: Mapping[str, Trail], after: Mapping[str, Trail], timing: Sequence[tuple[str, int]], period: int
) -> Divergence | None:
    """Where two runs part; None where they are equal.

    timing: populations in program order with their offsets, in chip steps; a population that only one run has, or that
    ran other steps or samples, parts at its first step.
    """
    found: list[tuple[int, int, Divergence]] = []
    parted = set(differing(before, after))
    ends = [(name, offset, end) for end in ("", SENT, ANSWERS) for name, offset in timing]
    for order, (name, offset, end) in enumerate(ends):
        if name + end not in parted:
            continue
        then, now = before.get(name + end), after.get(name + end)
        if then is None or now is None:
            found.append((offset, order, Divergence(name, 0, offset, (), end)))
            continue
        step = _first_difference(then.steps, now.steps)
        pairs = zip(then.samples, now.samples, strict=False)
        which = tuple(i for i, (left, right) in enumerate(pairs) if left != right)
        at = offset + step * period
        found.append((at, order, Divergence(name, step, at, which, end)))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _first_difference(before: Sequence[str], after: Sequence[str]) -> int:
    for step, (left, right) in enumerate(zip(before, after, strict=False)):
        if left != right:
            return step
    return min(len(before), len(after), max(len(before) - 1, 0))
