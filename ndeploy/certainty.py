"""How sure an answer is: of every tick, one less the mean normalised entropy of its class probabilities.

The rule of the public CTM code (`compute_normalized_entropy`), on the host: float64 from the outputs times their scale.
Classes are sorted before anything is added up and the result is a multiple of `RESOLUTION`, so that neither the order
of the classes nor another machine's last bit of exp and log decides between ticks that are equally certain: a network
that is sure for many ticks answers at the first of them, as the float32 reference does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray

RESOLUTION = 2.0**-24
"""The step of float32 just below 1, in which the reference compares. Finer, a sorting network that is sure from its
second tick on would answer at whichever tick has the last 1e-9: on the fixture the tick would be the reference's in
30 % of samples instead of 98 %."""

FLOOR = -1000.0
"""Logits this far below the largest have no probability in float64."""

FloatArray = npt.NDArray[np.float64]


def answers(output: npt.NDArray[Any], answer: tuple[int, ...]) -> npt.NDArray[Any]:
    """(samples, steps, ...) read as (samples, steps, positions, classes): all axes of `answer` but the last are
    positions; () is one position whose classes are all values of a step."""
    samples, steps = output.shape[:2]
    classes = answer[-1] if answer else int(np.prod(output.shape[2:], dtype=np.int64))
    return output.reshape(samples, steps, -1, classes)


def certainties(output: npt.NDArray[Any], answer: tuple[int, ...] = (), scale: float = 1.0) -> FloatArray:
    """Certainty of every tick, (samples, steps), 0 (all classes alike) to 1.

    output: (samples, steps, ...), integer or float; logits are output * scale, in the shape `answer`, classes last.
    1 - mean over positions of entropy(softmax(logits)) / log(classes); an answer of one class is certain.
    """
    read = answers(output, answer)
    if read.shape[-1] == 1:
        return np.ones(read.shape[:2])
    logits = np.sort(read.astype(np.float64), axis=-1)
    # <= 0: exp cannot overflow, and the sum is at least 1; beyond the floor exp is 0, whatever the scale
    with np.errstate(over="ignore"):
        below = np.maximum((logits - logits[..., -1:]) * scale, FLOOR)
    weights = np.exp(below)
    total = weights.sum(axis=-1)
    # -sum p log p with p = weights / total
    entropy = np.log(total) - (weights * below).sum(axis=-1) / total
    value = 1.0 - entropy.mean(axis=-1) / np.log(read.shape[-1])
    return np.asarray(np.clip(np.rint(value / RESOLUTION) * RESOLUTION, 0.0, 1.0))


def most_certain(output: npt.NDArray[Any], answer: tuple[int, ...] = (), scale: float = 1.0) -> IntArray:
    """The tick of the highest certainty, int64 (samples,); the first of equals."""
    return np.asarray(certainties(output, answer, scale).argmax(axis=1), dtype=np.int64)


def first_certain(certainty: FloatArray, least: float) -> IntArray:
    """The first tick whose certainty is `least` or more, -1 where none is: int64 (samples,)."""
    reached = certainty >= least
    return np.asarray(np.where(reached.any(axis=1), reached.argmax(axis=1), -1), dtype=np.int64)


def answers_at(output: npt.NDArray[Any], ticks: IntArray, answer: tuple[int, ...] = ()) -> IntArray:
    """The argmax of every position at one tick a sample: int64 (samples, *answer[:-1]); ties to the lowest class."""
    read = answers(output, answer)
    chosen = read[np.arange(len(read)), ticks].argmax(axis=-1)
    return np.asarray(chosen, dtype=np.int64).reshape(len(read), *answer[:-1])
