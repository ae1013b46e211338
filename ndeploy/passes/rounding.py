"""Weights rounded together: the error of a neuron's sum, not of each weight, is made small.

With x the messages that reach a neuron and w its weights in units of their steps, the expected squared error of its sum
is (w - q)^T C (w - q), C the covariance of x on calibration data; its mean goes into the bias. Columns are rounded one
after another, each error spread over the columns still free (Frantar and Alistarh, OPTQ, arXiv 2210.17323, which is the
optimal brain surgeon applied by column), then single steps are taken as long as they lower the error.
"""

from __future__ import annotations

import numpy as np

from ndeploy.ir.lowered import FloatArray

DAMPING = 1e-4
"""Share of the mean variance added to every message's variance: messages that calibration hardly moves keep rounding
to nearest."""
SWEEPS = 8


def round_together(weight: FloatArray, covariance: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Integers q within low .. high that make (w - q)^T C (w - q) small in every row.

    weight: (rows, columns) in units of its step; covariance: (columns, columns) of the messages times their step; low,
    high: (columns,) limits of the mantissas. Never worse than rounding to nearest.
    """
    size = weight.shape[1]
    c = covariance + np.eye(size) * (DAMPING * max(float(np.trace(covariance)) / size, 1e-30))
    nearest = np.clip(np.rint(weight), low, high)
    spread = _refine(weight, _by_column(weight, c, low, high), c, low, high)
    refined = _refine(weight, nearest, c, low, high)
    best = np.where((mean_square(weight - spread, c) < mean_square(weight - refined, c))[:, None], spread, refined)
    return np.where((mean_square(weight - best, c) <= mean_square(weight - nearest, c))[:, None], best, nearest)


def mean_square(delta: FloatArray, c: FloatArray) -> FloatArray:
    """The expected squared error of every row's sum, (rows,), for weights that are off by delta."""
    return np.asarray(np.einsum("ij,ij->i", delta @ c, delta))


def _by_column(weight: FloatArray, c: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """OPTQ: columns of large variance first; the upper Cholesky factor of the inverse says how an error spreads."""
    order = np.argsort(-np.diag(c), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(c[np.ix_(order, order)])).T
    left = weight[:, order].copy()
    rounded = np.empty_like(left)
    for j in range(left.shape[1]):
        rounded[:, j] = np.clip(np.rint(left[:, j]), low[order[j]], high[order[j]])
        error = (left[:, j] - rounded[:, j]) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _refine(weight: FloatArray, rounded: FloatArray, c: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Coordinate descent: each column's best integer given the others."""
    rounded = rounded.copy()
    gradient = (weight - rounded) @ c
    for _ in range(SWEEPS):
        moved = False
        for j in range(weight.shape[1]):
            step = np.rint(gradient[:, j] / c[j, j])
            step = np.clip(rounded[:, j] + step, low[j], high[j]) - rounded[:, j]
            if step.any():
                moved = True
                rounded[:, j] += step
                gradient -= np.outer(step, c[j])
        if not moved:
            break
    return rounded
