"""Weights rounded together: the error of a neuron's sum, not of each weight, is made small.

With x the messages that reach a neuron and w its weights in units of their steps, the expected squared error of its sum
is (w - q)^T C (w - q), C the covariance of x on calibration data; its mean goes into the bias. Columns are rounded one
after another, each error spread over the columns still free (Frantar and Alistarh, OPTQ, arXiv 2210.17323, which is the
optimal brain surgeon applied by column), then single steps are taken as long as they lower the error.

All arrays carry a leading axis of groups that share nothing: weight (groups, rows, columns), covariance (groups,
columns, columns).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.lowered import FloatArray

DAMPING = 1e-4
"""Share of the mean variance added to every message's variance: messages that calibration hardly moves keep rounding
to nearest."""
SWEEPS = 8
BLOCK = 64
"""Columns between two matrix products over all of them: what makes a layer of 1,500 columns a matter of seconds."""


@dataclass(frozen=True, eq=False)
class Metric:
    """What an error of the weights costs, prepared once. c: damped covariances; order: columns, largest variance first;
    upper: Cholesky factors of the inverses in that order."""

    c: FloatArray
    order: IntArray
    upper: FloatArray


def metric(covariance: FloatArray) -> Metric:
    """covariance: (groups, columns, columns) of the messages times their step."""
    size = covariance.shape[-1]
    mean = np.maximum(np.trace(covariance, axis1=1, axis2=2) / size, 1e-30)
    c = covariance + np.eye(size) * (DAMPING * mean)[:, None, None]
    order = np.argsort(-np.einsum("gjj->j", c), kind="stable")
    inverse = np.linalg.inv(c[:, order][:, :, order])
    upper = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    return Metric(c, order, upper)


def round_together(weight: FloatArray, cost: Metric, limit: FloatArray, lowest: FloatArray | None = None) -> FloatArray:
    """Integers q from lowest (-limit by default) to limit that make (w - q)^T C (w - q) small in every row.

    weight: in units of its step; limit, lowest: (columns,). Never worse than rounding to nearest.
    """
    nearest = np.clip(np.rint(weight), -limit if lowest is None else lowest, limit)
    best: FloatArray = nearest
    least = mean_square(weight - nearest, cost.c)
    for start in (by_column(weight, cost, limit, lowest), nearest):
        tried = refined(weight, start, cost.c, limit, lowest)
        error = mean_square(weight - tried, cost.c)
        best = np.asarray(np.where((error < least)[..., None], tried, best))
        least = np.minimum(error, least)
    return best


def mean_square(delta: FloatArray, c: FloatArray) -> FloatArray:
    """The expected squared error of every row's sum, (groups, rows), for weights that are off by delta."""
    return np.asarray(((delta @ c) * delta).sum(axis=-1))


def by_column(weight: FloatArray, cost: Metric, limit: FloatArray, lowest: FloatArray | None = None) -> FloatArray:
    """OPTQ: the Cholesky factor of the inverse says how the error of a column spreads over those after it."""
    order, upper = cost.order, cost.upper
    # (groups, columns, rows): a column is contiguous
    left = np.ascontiguousarray(weight[:, :, order].transpose(0, 2, 1))
    rounded, error = np.empty_like(left), np.empty_like(left)
    most = limit[order]
    least = -most if lowest is None else lowest[order]
    for here in _blocks(left.shape[1]):
        for j in range(here.start, here.stop):
            rounded[:, j] = np.clip(np.rint(left[:, j]), least[j], most[j])
            error[:, j] = (left[:, j] - rounded[:, j]) / upper[:, j, j, None]
            later = slice(j + 1, here.stop)
            left[:, later] -= upper[:, j, later, None] * error[:, j, None]
        left[:, here.stop :] -= upper[:, here, here.stop :].transpose(0, 2, 1) @ error[:, here]
    result: FloatArray = np.empty_like(weight)
    result[:, :, order] = rounded.transpose(0, 2, 1)
    return result


def refined(
    weight: FloatArray, rounded: FloatArray, c: FloatArray, limit: FloatArray, lowest: FloatArray | None = None
) -> FloatArray:
    """Coordinate descent from `rounded`: each column's best integer given the others."""
    least = -limit if lowest is None else lowest
    # (groups, columns, rows): a column is contiguous
    whole = np.ascontiguousarray(rounded.transpose(0, 2, 1))
    gradient = c @ (np.ascontiguousarray(weight.transpose(0, 2, 1)) - whole)
    for _ in range(SWEEPS):
        moved = False
        for here in _blocks(whole.shape[1]):
            near, own = np.array(gradient[:, here]), c[:, here, here]
            change = np.zeros_like(near)
            for j in range(near.shape[1]):
                at = here.start + j
                step = np.rint(near[:, j] / own[:, j, j, None])
                step = np.clip(whole[:, at] + step, least[at], limit[at]) - whole[:, at]
                if step.any():
                    change[:, j] = step
                    near -= own[:, :, j, None] * step[:, None]
            if change.any():
                moved = True
                whole[:, here] += change
                gradient -= c[:, :, here] @ change
        if not moved:
            break
    return np.ascontiguousarray(whole.transpose(0, 2, 1))


def _blocks(columns: int) -> list[slice]:
    """Columns that are worked on one by one, before one matrix product tells all others of them."""
    return [slice(i, min(i + BLOCK, columns)) for i in range(0, columns, BLOCK)]
