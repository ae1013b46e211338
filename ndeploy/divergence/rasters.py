"""A sample's messages of every layer, small enough to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.divergence.layers import Layer, Parting
from ndeploy.divergence.signals import Signals, shown
from ndeploy.ir.program import Program

BoolArray = npt.NDArray[np.bool_]

NEURONS = 48
"""Rows of a picture."""
STEPS = 256
"""Columns of a picture."""
LAYERS = 16


@dataclass(frozen=True)
class Raster:
    """both, reference, program: (row, step) of the spikes that both send, or one of them alone. neurons: index of every
    row, flat in the population's C order; of: neurons of the layer. first_step: of the columns."""

    layer: str
    sample: int
    neurons: tuple[int, ...]
    of: int
    first_step: int
    steps: int
    both: tuple[tuple[int, int], ...]
    reference: tuple[tuple[int, int], ...]
    program: tuple[tuple[int, int], ...]


def rasters(
    program: Program, own: Signals, reference: Signals, layers: tuple[Layer, ...], first: Parting | None
) -> tuple[Raster, ...]:
    """Of layers of spikes, in the program's order; the rows are the neurons that differ most, then the busiest."""
    found: list[Raster] = []
    sample = 0 if first is None else first.sample
    for layer in layers:
        if layer.kind != "spikes" or len(found) == LAYERS:
            continue
        a, b = shown(own, layer.name), shown(reference, layer.name)
        if a is not None and b is not None:
            found.append(_raster(layer.name, sample, a[0] != 0, b[0] != 0, first))
    return tuple(found)


def _raster(name: str, sample: int, own: BoolArray, wanted: BoolArray, first: Parting | None) -> Raster:
    steps, neurons = own.shape
    start = 0
    if steps > STEPS and first is not None:
        start = max(0, min(first.step - STEPS // 4, steps - STEPS))
    own, wanted = own[start : start + STEPS], wanted[start : start + STEPS]
    differ, busy = (own != wanted).sum(axis=0), (own | wanted).sum(axis=0)
    rows = np.sort(np.lexsort((np.arange(neurons), -busy, -differ))[:NEURONS])
    own, wanted = own[:, rows], wanted[:, rows]

    def places(where: BoolArray) -> tuple[tuple[int, int], ...]:
        step, row = np.nonzero(where)
        return tuple((int(r), int(s)) for r, s in zip(row, step, strict=True))

    return Raster(
        name,
        sample,
        tuple(int(r) for r in rows),
        neurons,
        start,
        len(own),
        places(own & wanted),
        places(wanted & ~own),
        places(own & ~wanted),
    )
