"""Thinking for as long as it takes: a sample ends at the first tick that is certain enough.

On a chip the host reads the output of every tick and ends the sample; nothing after that tick happens. What is counted
here is therefore counted by running the program for that many steps, not by taking a share of the whole run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ndeploy.certainty import answers_at, certainties, first_certain
from ndeploy.data import Data
from ndeploy.decode import encodes_sequences
from ndeploy.errors import UsageError
from ndeploy.evaluate import Evaluation, accuracies, evaluate, mean_per_sample, merged_overflow
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Counts
from ndeploy.runners import Runner, RunnerOptions

if TYPE_CHECKING:
    from ndeploy.target import Target

KINDS = ("synaptic_ops", "neuron_updates", "spikes", "embedded_ops")
"""What is counted and can be saved."""


@dataclass(frozen=True, eq=False)
class Adaptive:
    """Every sample run to its own end, and to the last tick.

    least: the certainty at which a sample ends. ticks: how many a sample took, int64 (samples,), 1 to the program's
    steps. spent: its predictions are those of each sample's end, its counts what happened until then; its outputs
    are those of all ticks. full: the whole run, answered at the most certain tick.
    """

    least: float
    ticks: IntArray
    spent: Evaluation
    full: Evaluation

    def saved(self, kind: str) -> float:
        """The share of events of one of `KINDS` that did not happen; 0 where there are none at all."""
        whole = mean_per_sample(getattr(self.full.result.counts, kind))
        return 1.0 - mean_per_sample(getattr(self.spent.result.counts, kind)) / whole if whole else 0.0


def run(
    program: Program, data: Data, runner: Runner, options: RunnerOptions, least: float, *, batch: int = 64
) -> Adaptive:
    """Run every sample to the first tick whose certainty is `least` or more; where none is, to the last, to be answered
    at the most certain.

    Raises UsageError ND708 where the answer is not taken at the most certain tick, and what `evaluate` raises.
    """
    port = program.outputs[0]
    if port.decode != "most-certain":
        raise UsageError(
            "ND708",
            f"the answer of this network is read by '{port.decode}' over all steps: no step's certainty ends a sample",
            help="leave out --stop-certainty: it is for networks that answer at their most certain tick",
        )
    began = time.monotonic()
    full = evaluate(program, data, runner, options, batch=batch)
    output = full.result.outputs[port.population]
    certainty = certainties(output, port.answer, port.scale)
    certain = first_certain(certainty, least)
    # who is never certain enough has run all ticks and answers by the reference's rule
    last = np.where(certain >= 0, certain, program.steps - 1)
    answered = np.where(certain >= 0, certain, certainty.argmax(axis=1))
    groups = [np.flatnonzero(last == tick) for tick in np.unique(last)]
    parts = []
    for group in groups:
        left = None
        if options.time_limit is not None:
            # evaluate gives up by itself on a limit that has passed
            left = max(1e-9, options.time_limit - (time.monotonic() - began))
        steps = int(last[group[0]]) + 1
        parts.append(
            evaluate(
                replace(program, steps=steps),
                _part(program, data, group, steps),
                runner,
                replace(options, time_limit=left),
                batch=batch,
            )
        )
    predictions = answers_at(output, answered, port.answer)
    result = replace(
        full.result,
        predictions=predictions,
        counts=_counts((part.result.counts for part in parts), groups),
        seconds=full.result.seconds + sum(part.result.seconds for part in parts),
        overflow=merged_overflow(part.result.overflow for part in parts),
    )
    return Adaptive(least, last + 1, Evaluation(result, *accuracies(predictions, data.y)), full)


def _part(program: Program, data: Data, group: IntArray, steps: int) -> Data:
    """The samples of a group; of sequences the first `steps` steps. Labels stay behind: the group is not scored."""
    x = data.x[group]
    return Data(x[:, :steps] if encodes_sequences(program, data.x) else x, None, data.x_scale)


def _counts(parts: Iterable[Counts], groups: list[IntArray]) -> Counts:
    """The groups' counts, each sample's at its own place."""
    samples = sum(len(group) for group in groups)
    kinds: dict[str, dict[str, IntArray]] = {kind: {} for kind in KINDS}
    for part, group in zip(parts, groups, strict=True):
        for kind, into in kinds.items():
            found: Mapping[str, IntArray] = getattr(part, kind)
            for name, value in found.items():
                into.setdefault(name, np.zeros(samples, dtype=np.int64))[group] = value
    return Counts(**kinds)


@dataclass(frozen=True)
class Saving:
    """chip_steps: what a sample took, on average. Saved: shares of the whole run. energy: nominal joules a sample of
    the whole run and of what was spent, None where the target (its name, "" for none) has no prices."""

    target: str
    chip_steps: float
    chip_steps_saved: float
    energy: tuple[float, float] | None

    @property
    def energy_saved(self) -> float | None:
        """The share of the whole run's energy; None without prices, or where nothing priced happens."""
        return None if self.energy is None or self.energy[0] == 0 else 1.0 - self.energy[1] / self.energy[0]


def saving(program: Program, target: Target | None, found: Adaptive) -> Saving:
    """What ending early saved on the target. Raises what `place` and `estimate` raise."""
    whole = program.chip_steps_per_sample
    taken = float(np.mean([replace(program, steps=int(k)).chip_steps_per_sample for k in found.ticks]))
    energy = None if target is None else _energies(program, target, found)
    return Saving("" if target is None else target.name, taken, 1.0 - taken / whole, energy)


def _energies(program: Program, target: Target, found: Adaptive) -> tuple[float, float] | None:
    """Only the energy of events: it is linear in their counts, so that means over samples may be priced. Samples that
    ended at the same tick are of one program, of so many steps."""
    from ndeploy.energy.coarse import energy_of_counts
    from ndeploy.place import place

    if not target.energy:
        return None
    placed = place(program, target)
    full = energy_of_counts(program, placed, target, found.full.result.counts)
    spent = 0.0
    for steps in np.unique(found.ticks).tolist():
        which = np.flatnonzero(found.ticks == steps)
        counts = found.spent.result.counts
        some = Counts(**{kind: {name: value[which] for name, value in getattr(counts, kind).items()} for kind in KINDS})
        energy = energy_of_counts(replace(program, steps=steps), placed, target, some)
        if energy is None:
            return None
        spent += energy.nominal * len(which) / len(found.ticks)
    return None if full is None else (full.nominal, spent)
