"""How long a sample takes: chip step by chip step, the barrier and the work of the busiest core.

The max-affine form of Timcheck et al. (2026), who predict the run time of Loihi 2 with it: a chip step takes at least

    barrier + max over cores of (sum over kinds of event of count x time of one)

and cores work at the same time. It is a lower bound: queues in the mesh are not in it, and the mean over samples of a
maximum is never less than the maximum of the means, which is what is taken here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.energy.ledger import Ledger
from ndeploy.energy.ranges import Range
from ndeploy.ir.program import Program
from ndeploy.place.flows import HOST
from ndeploy.target import EMBEDDED_EVENT, Price, PriceTable

FloatArray = npt.NDArray[np.float64]
BOUNDS = ("low", "nominal", "high")


@dataclass(frozen=True)
class Timing:
    """latency: from the first input to the last output of a sample; interval: between the starts of two samples (equal
    but for a pipelined program); busy: by core, seconds of work a sample; missing: events at work without a time."""

    latency: Range
    interval: Range
    busy: dict[int, Range]
    missing: tuple[str, ...]


def _value(price: Price | None, bound: str) -> float:
    return 0.0 if price is None else float(getattr(price, bound))


def timing(program: Program, ledger: Ledger, table: PriceTable) -> Timing | None:
    """Bounds on time; None where the table has no times.

    A chip step's work is that of the slices updated in it, with what arrived for the update. Pipelined programs take a
    new sample every `chip_steps_per_sample` chip steps, and all their populations are at work in every one.
    """
    if not table.time:
        return None
    cores = sorted({piece.core for piece in ledger.slices})
    row = {core: i for i, core in enumerate(cores)}
    window = program.steps * program.period + program.latency
    pipelined = program.mode == "pipelined"
    length = program.chip_steps_per_sample if pipelined else window
    found: dict[str, tuple[float, float]] = {}
    busy: dict[str, FloatArray] = {}
    processor = sum(ledger.embedded.values()) / ledger.samples
    for bound in BOUNDS:
        work = np.zeros((len(cores), length))
        for event, counts in ledger.events.items():
            price = table.duration(event)
            if price is None:
                continue
            for number, piece in enumerate(ledger.slices):
                at = (int(ledger.phase[number]) + np.arange(counts.shape[1]) * program.period) % length
                work[row[piece.core], at] += counts[number] * (_value(price, bound) / ledger.samples)
        barrier = _value(table.duration("barrier"), bound)
        on_processor = processor * _value(table.duration(EMBEDDED_EVENT), bound)
        interval = float((barrier + work.max(axis=0)).sum()) + on_processor
        # of a pipelined program the last populations finish `latency` chip steps after the window, at its mean pace
        latency = interval * window / length if pipelined else interval
        found[bound] = (latency, interval)
        busy[bound] = work.sum(axis=1)
    # an event whose energy another price holds happens within that event, and takes its time with it
    timed = {
        event
        for event, counts in ledger.events.items()
        if counts.any() and table.duration(event) is None and event not in table.covered
    }
    if processor and table.duration(EMBEDDED_EVENT) is None:
        timed.add(EMBEDDED_EVENT)
    return Timing(
        Range(*(found[bound][0] for bound in BOUNDS)),
        Range(*(found[bound][1] for bound in BOUNDS)),
        {core: Range(*(float(busy[bound][row[core]]) for bound in BOUNDS)) for core in cores if core != HOST},
        tuple(sorted(timed)),
    )
