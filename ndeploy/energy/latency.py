"""How long a sample takes: chip step by chip step, the barrier and the work of the busiest core.

The max-affine form of Timcheck et al. (2026), who predict the run time of Loihi 2 with it: a chip step takes at least

    barrier + max over cores of (sum over kinds of event of count x time of one)

and cores, the embedded processor beside them, work at the same time. It is a lower bound: queues in the mesh are not in
it, and the mean over samples of a maximum is never less than the maximum of the means, which is what is taken here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.energy.ledger import Ledger
from ndeploy.energy.ranges import Range
from ndeploy.ir.program import Program
from ndeploy.place.flows import HOST
from ndeploy.target import PriceTable

FloatArray = npt.NDArray[np.float64]
BOUNDS = ("low", "nominal", "high")
UPDATE = "neuron-update"


@dataclass(frozen=True)
class Timing:
    """latency: from the first input to the last output of a sample; interval: between the starts of two samples (equal
    but for a pipelined program); busy: by core, seconds of work a sample; missing: events at work without a time."""

    latency: Range
    interval: Range
    busy: dict[int, Range]
    missing: tuple[str, ...]


def timing(program: Program, ledger: Ledger, table: PriceTable) -> Timing | None:
    """Bounds on time; None where the table has no times, or the program no cores.

    A pipelined program takes a new sample every `chip_steps_per_sample` chip steps and all its populations are at work
    in every one: what happens past the end of the window is done at the next samples' start. Neurons of which the
    program asks no update in a chip step take an idle update's time, none at the low bound (`estimate.REST`).
    """
    cores = sorted({core for core, *_ in ledger.work})
    if not table.time or not any(core != HOST for core in cores):
        return None
    row = {core: i for i, core in enumerate(cores)}
    window = program.steps * program.period + program.latency
    length = program.chip_steps_per_sample
    work = np.zeros((len(BOUNDS), len(cores), length))
    visits = np.zeros((len(cores), length))
    missing: set[str] = set()
    for (core, start, over, event), counts in ledger.work.items():
        first = start + np.arange(counts.shape[0]) * program.period
        at = (first[:, None] + np.arange(over)) % length
        each = counts[:, None] / (ledger.samples * over)
        if event.startswith(UPDATE):
            np.add.at(visits[row[core]], at, np.broadcast_to(each, at.shape))
        price = table.duration(event)
        if price is not None:
            for bound, name in enumerate(BOUNDS):
                np.add.at(work[bound, row[core]], at, np.broadcast_to(each * getattr(price, name), at.shape))
        elif not {event, event.partition(".")[0]} & {*table.covered} and counts.any():
            # an event whose energy another price holds happens within that event, and takes its time with it
            missing.add(event)
    idle = table.duration(f"{UPDATE}.idle")
    if idle is not None:
        held = np.zeros(len(cores))
        np.add.at(held, [row[piece.core] for piece in ledger.slices], [float(piece.size) for piece in ledger.slices])
        rest = np.maximum(held[:, None] - visits, 0.0)
        work[1] += rest * idle.nominal
        work[2] += rest * idle.high
    barrier = table.duration("barrier")
    each_step = np.array([0.0 if barrier is None else getattr(barrier, bound) for bound in BOUNDS])
    spans = each_step[:, None] + work.max(axis=1)
    interval = spans.sum(axis=1)
    latency = interval if window == length else spans[:, np.arange(window) % length].sum(axis=1)
    busy = work.sum(axis=2)
    return Timing(
        _range(latency),
        _range(interval),
        {core: _range(busy[:, row[core]]) for core in cores if core != HOST},
        tuple(sorted(missing)),
    )


def _range(values: FloatArray) -> Range:
    low, nominal, high = (float(value) for value in values)
    return Range(low, nominal, high)
