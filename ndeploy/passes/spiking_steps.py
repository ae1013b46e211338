"""Weights of spiking layers in few bits: the step of every row, and mantissas that are rounded together.

The largest weight decides the step where there are bits to spare. With two to four bits it is better to clip a few
large weights: of a ladder of steps each row takes the one whose rounding (`passes.rounding`) loses least of its sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray, RealConv, RealProjection
from ndeploy.passes.rounding import by_column, mean_square, metric, refined, round_together

LADDER = tuple(2.0 ** (-i / 6) for i in range(13))
"""Steps tried, as a share of the one that holds the largest weight."""
FINE_LADDER = (1.0, *(2.0 ** (i / 16) for i in (*range(-1, -33, -1), 1, 2, 3, 4)))
"""Those of ports with at most `SMALL` weights, which take no time: some coarser ones lie better too."""
SMALL = 1 << 13
CLIPPED_BITS = 6
"""Widths from which nothing is clipped."""


@dataclass(frozen=True, eq=False)
class Port:
    """The weighted inputs of one population, side by side. weight: (groups, rows, columns), real value a message; mean,
    covariance: of the messages, (groups, columns) and (groups, columns, columns); bits: (columns,); share: (columns,)
    what a mantissa of one is worth there, in steps (powers of two, of projections with an exponent of their own)."""

    weight: FloatArray
    mean: FloatArray
    covariance: FloatArray
    bits: npt.NDArray[np.int64]
    share: FloatArray

    @property
    def top(self) -> FloatArray:
        return np.asarray((1 << (self.bits - 1)) - 1, dtype=np.float64)

    @property
    def lowest(self) -> FloatArray:
        return np.asarray(-(1 << (self.bits - 1)), dtype=np.float64)


def largest_step(port: Port) -> FloatArray:
    """(groups, rows): the smallest step that clips nothing, 0 for rows without weights."""
    return np.asarray((np.abs(port.weight) / (port.top * port.share)).max(axis=-1, initial=0.0))


def row_steps(port: Port, together: npt.NDArray[np.int64] | None = None) -> FloatArray:
    """(groups, rows): the step of every row that loses least; together: (groups, rows) labels of rows that need one
    step in common. Rows without weights get 0.

    With `mantissas` at that step no row, or set of rows with one step, loses more than to nearest at the largest step.
    """
    widest = largest_step(port)
    if int(port.bits.min(initial=CLIPPED_BITS)) >= CLIPPED_BITS:
        return widest if together is None else _in_common(widest, together)
    if together is not None:
        widest = _in_common(widest, together)
    scaled = port.covariance * port.share[:, None] * port.share
    cost = metric(scaled)
    safe = np.where(widest > 0, widest, 1.0)

    def lost(weight: FloatArray, rounded: FloatArray, step: FloatArray) -> FloatArray:
        error = mean_square(weight - rounded, cost.c) * step**2
        return error if together is None else np.asarray(np.bincount(together.reshape(-1), error.reshape(-1))[together])

    weight = port.weight / safe[..., None] / port.share
    best, least = np.array(safe), lost(weight, np.clip(np.rint(weight), port.lowest, port.top), safe)
    for factor in FINE_LADDER if port.weight.size <= SMALL else LADDER:
        step = safe * factor
        weight = port.weight / step[..., None] / port.share
        rounded = by_column(weight, cost, port.top, port.lowest)
        rounded = refined(weight, rounded, cost.c, port.top, port.lowest)
        error = lost(weight, rounded, step)
        better = error < least
        best, least = np.where(better, step, best), np.where(better, error, least)
    return np.where(widest > 0, best, 0.0)


def mantissas(port: Port, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(mantissas like weight, what to add to the bias by row: the mean of what rounding loses)."""
    safe = np.where(step > 0, step, 1.0)[..., None]
    weight = port.weight / safe / port.share
    cost = metric(port.covariance * port.share[:, None] * port.share)
    rounded = round_together(weight, cost, port.top, port.lowest)
    lost = (weight - rounded) * safe * port.share
    return rounded, np.asarray((lost @ port.mean[:, :, None])[..., 0])


def side_by_side(projections: list[RealProjection], weights: list[FloatArray]) -> FloatArray:
    """(groups, rows, columns) of the weights of one population."""
    groups = [p.synapses.groups if isinstance(p.synapses, RealConv) else 1 for p in projections]
    parts = [w.reshape(g, w.shape[0] // g, -1) for w, g in zip(weights, groups, strict=True)]
    return np.concatenate(parts, axis=2)


def apart(projections: list[RealProjection], rounded: FloatArray) -> dict[str, npt.NDArray[np.int16]]:
    """The mantissas of each projection in the layout of its weight."""
    found: dict[str, npt.NDArray[np.int16]] = {}
    first = 0
    for p in projections:
        wide = p.synapses.weight.size // (rounded.shape[0] * rounded.shape[1])
        part = rounded[:, :, first : first + wide]
        found[p.name] = part.reshape(p.synapses.weight.shape).astype(np.int16)
        first += wide
    return found


def _in_common(step: FloatArray, together: npt.NDArray[np.int64]) -> FloatArray:
    largest = np.zeros(int(together.max()) + 1)
    np.maximum.at(largest, together.reshape(-1), step.reshape(-1))
    return np.asarray(largest[together])
