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


def round_together(weight: FloatArray, cost: Metric, limit: FloatArray) -> FloatArray:
    """Integers q within +-limit that make (w - q)^T C (w - q) small in every row.

    weight: in units of its step; limit: (columns,), the largest mantissa. Never worse than rounding to nearest.
    """
    nearest = np.clip(np.rint(weight), -limit, limit)
    best: FloatArray = nearest
    least = mean_square(weight - nearest, cost.c)
    for start in (_by_column(weight, cost, limit), nearest):
        tried = _refined(weight, start, cost.c, limit)
        error = mean_square(weight - tried, cost.c)
        best = np.asarray(np.where((error < least)[..., None], tried, best))
        least = np.minimum(error, least)
    return best


def mean_square(delta: FloatArray, c: FloatArray) -> FloatArray:
    """The expected squared error of every row's sum, (groups, rows), for weights that are off by delta."""
    return np.asarray(((delta @ c) * delta).sum(axis=-1))


def _by_column(weight: FloatArray, cost: Metric, limit: FloatArray) -> FloatArray:
    """OPTQ: the Cholesky factor of the inverse says how the error of a column spreads over those after it."""
    order, upper = cost.order, cost.upper
    left = weight[:, :, order].copy()
    rounded = np.empty_like(left)
    for j in range(left.shape[-1]):
        rounded[:, :, j] = np.clip(np.rint(left[:, :, j]), -limit[order[j]], limit[order[j]])
        error = (left[:, :, j] - rounded[:, :, j]) / upper[:, j, j, None]
        left[:, :, j + 1 :] -= error[:, :, None] * upper[:, None, j, j + 1 :]
    result: FloatArray = np.empty_like(rounded)
    result[:, :, order] = rounded
    return result


def _refined(weight: FloatArray, rounded: FloatArray, c: FloatArray, limit: FloatArray) -> FloatArray:
    """Coordinate descent: each column's best integer given the others."""
    rounded = np.array(rounded)
    gradient = (weight - rounded) @ c
    for _ in range(SWEEPS):
        moved = False
        for j in range(weight.shape[-1]):
            step = np.rint(gradient[:, :, j] / c[:, None, j, j])
            step = np.clip(rounded[:, :, j] + step, -limit[j], limit[j]) - rounded[:, :, j]
            if step.any():
                moved = True
                rounded[:, :, j] += step
                gradient -= step[:, :, None] * c[:, None, j]
        if not moved:
            break
    return np.asarray(rounded)
