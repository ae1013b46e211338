"""A sample's messages of every layer, small enough to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.divergence.layers import Layer, Parting
from ndeploy.divergence.signals import FloatArray, Signals, shown
from ndeploy.ir.program import Program

BoolArray = npt.NDArray[np.bool_]

NEURONS = 48
"""Rows of a picture."""
STEPS = 256
"""Columns of a picture."""
LAYERS = 16
LEVELS = 9
"""Steps of the shades of a graded layer, beside none."""
FULL = 0.5
"""Of the root mean square of the reference: a difference that takes the darkest shade."""


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


@dataclass(frozen=True)
class Shades:
    """Of a layer of graded messages, or of membranes where it sends none: how far both are apart. cells: (row, step,
    shade, sign) of what differs, shade 1 to `LEVELS`, the last from `FULL` of the root mean square on; sign 1 where the
    program's value is the larger, else -1. The others as `Raster`'s. largest: difference over that root mean square."""

    layer: str
    sample: int
    neurons: tuple[int, ...]
    of: int
    first_step: int
    steps: int
    cells: tuple[tuple[int, int, int, int], ...]
    largest: float


def rasters(
    program: Program, own: Signals, reference: Signals, layers: tuple[Layer, ...], first: Parting | None
) -> tuple[Raster | Shades, ...]:
    """Of the layers in the program's order, the one where they part first among them; the rows are the neurons that
    differ most, then the busiest."""
    found: list[Raster | Shades] = []
    sample = 0 if first is None else first.sample
    names = [layer.name for layer in layers]
    begin = 0 if first is None else max(0, min(names.index(first.layer) - LAYERS // 4, len(names) - LAYERS))
    for layer in layers[begin : begin + LAYERS]:
        a, b = shown(own, layer.name), shown(reference, layer.name)
        if a is None or b is None:
            continue
        if layer.kind == "spikes":
            found.append(_raster(layer.name, sample, a[0] != 0, b[0] != 0, first))
        else:
            found.append(_shades(layer.name, sample, a[0], b[0], first))
    return tuple(found)


def _start(steps: int, first: Parting | None) -> int:
    """The first column that is drawn."""
    return 0 if steps <= STEPS or first is None else max(0, min(first.step - STEPS // 4, steps - STEPS))


def _shades(name: str, sample: int, own: FloatArray, wanted: FloatArray, first: Parting | None) -> Shades:
    start, neurons = _start(len(own), first), own.shape[1]
    own, wanted = own[start : start + STEPS], wanted[start : start + STEPS]
    size = float(np.sqrt(np.mean(wanted**2))) or 1.0
    gap = (own - wanted) / size
    rows = np.sort(np.lexsort((np.arange(neurons), -np.abs(gap).sum(axis=0)))[:NEURONS])
    gap = gap[:, rows]
    shade = np.rint(np.minimum(np.abs(gap) / FULL, 1.0) * LEVELS).astype(int)
    cells = [
        (int(r), int(s), int(shade[s, r]), 1 if gap[s, r] > 0 else -1) for s, r in zip(*np.nonzero(shade), strict=True)
    ]
    largest = float(np.abs(gap).max(initial=0.0))
    return Shades(name, sample, tuple(int(r) for r in rows), neurons, start, len(own), tuple(cells), largest)


def _raster(name: str, sample: int, own: BoolArray, wanted: BoolArray, first: Parting | None) -> Raster:
    start, neurons = _start(len(own), first), own.shape[1]
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
