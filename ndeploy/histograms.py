"""Which range a graded message should cover: all that was observed, most of it, or what loses least.

A message of b bits over a range c has steps of c / top. A wide range clips nothing and has coarse steps; a narrow one
has fine steps and clips outliers. Histograms of what the float network puts out on calibration data, of bounded size,
let the range of least mean square error be found for any b without running the network again (as in Banner et al.,
"Post training 4-bit quantization of convolutional networks", arXiv 1810.05723, but from the histogram itself instead
of a distribution fitted to it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ndeploy.errors import UsageError
from ndeploy.ir.lowered import FloatArray
from ndeploy.passes.codings import top
from ndeploy.quantizer import Observed

CALIBRATIONS = ("range", "percentile", "mse")
"""How the range of a message is chosen."""
BINS = 512
GROUPS = 4096
"""Elements of a node that have a histogram of their own; a node with more has one a channel (its first axis)."""
POINTS = 4
"""Values of each bin at which an error is taken."""
SHARES = np.linspace(0.1, 1.0, 91)
"""Ranges that are tried, as shares of the largest value."""
FINE_BITS = 12
"""Payload from which the whole range is kept: its steps are fine enough, and clipping would gain nothing."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """counts: (groups, BINS) of |value| / largest over [0, 1]; largest: (groups,). A group is an element of the node's
    output or, where there are more than `GROUPS`, a channel."""

    counts: npt.NDArray[np.int64]
    largest: FloatArray


def largest_of(seen: Observed) -> FloatArray:
    """The largest |value| of every group, (groups,)."""
    size = np.maximum(np.abs(seen.low), np.abs(seen.high))
    return size.reshape(-1) if size.size <= GROUPS else size.reshape(len(size), -1).max(axis=1)


@cache
def _errors(bits: int, is_signed: bool) -> FloatArray:
    """(BINS, ranges): mean square error of a value of that bin when the code covers that share of the largest."""
    value = (np.arange(BINS * POINTS) + 0.5) / (BINS * POINTS)
    steps = top(bits, is_signed)
    unit = SHARES / steps
    code = np.minimum(np.rint(value[:, None] / unit), steps)
    return np.asarray(((value[:, None] - code * unit) ** 2).reshape(BINS, POINTS, -1).mean(axis=1))


def least_error(histogram: Histogram, bits: int, is_signed: bool) -> FloatArray:
    """The range of least mean square error of a uniform code, (groups,) as a share of the largest value.

    is_signed: whether the code has a sign; its magnitudes are 0 .. top(bits, is_signed). Of equal errors the widest
    range counts.
    """
    error = histogram.counts @ _errors(bits, is_signed)
    best = error.shape[1] - 1 - error[:, ::-1].argmin(axis=1)
    return np.asarray(SHARES[best])


def kept_share(bits: int) -> float:
    """The share of values that a code of so many bits should cover: 1 - 2^-(bits + 1), 99.8 % for 8 bits and 96.9 % for
    4. Chosen by measurement: on the parity fixture (synchronisation, queries and shares at 12 bits, the rest at 8, 7,
    6, 5, 4) whole sequences are 99.6, 99.1, 86.5, 50.3, 24.3 % right; with the whole range 100, 97.1, 71.1, 26.3, 7.1,
    with the least mean square error 99.6, 97.4, 75.3, 36.0, 12.6 (calibration data, 8-bit weights)."""
    return 1.0 - 2.0 ** -(bits + 1)


def percentile(histogram: Histogram, share: float) -> FloatArray:
    """The range that holds at least this share of the values, (groups,) as a share of the largest value: the upper edge
    of a bin, so never too narrow."""
    below = np.cumsum(histogram.counts, axis=1)
    enough = below >= np.ceil(share * below[:, -1:])
    return np.asarray((enough.argmax(axis=1) + 1) / BINS)


def clip_ranges(
    observed: Mapping[str, Observed],
    found: Mapping[str, Histogram],
    how: str,
    bits_of: Mapping[str, int],
    unsigned: frozenset[str] = frozenset(),
) -> dict[str, Observed]:
    """Observed ranges, narrowed where `how` says so and messages have fewer than `FINE_BITS` bits.

    how: "range", "percentile" or "mse". bits_of: payload by node; others keep their range. unsigned: nodes whose
    messages have no sign. Raises UsageError ND205 for another `how`.
    """
    if how not in CALIBRATIONS:
        raise UsageError("ND205", f"unknown calibration '{how}'", help=f"choose one of {', '.join(CALIBRATIONS)}")
    result = dict(observed)
    for name, bits in bits_of.items():
        if how == "range" or name not in found or bits >= FINE_BITS:
            continue
        seen, histogram = observed[name], found[name]
        if how == "percentile":
            share = percentile(histogram, kept_share(bits))
        else:
            share = least_error(histogram, bits, name not in unsigned)
        shape = seen.low.shape
        limit = share * histogram.largest
        wide = limit.reshape(shape) if limit.size == seen.low.size else limit.reshape(-1, *(1,) * (len(shape) - 1))
        result[name] = Observed(np.maximum(seen.low, -wide), np.minimum(seen.high, wide))
    return result
