"""A state dict that knows which of its tensors were used, weights with learned steps, and batch norm folding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import UsageError

from ._lsq import quantised
from ._options import Options

FloatArray = npt.NDArray[np.float64]


class Weights:
    """Tensors by name; every one that is taken is noted, so that none is left out in silence.

    options: where the file's own quantisation finds what the file does not say of it; weights with learned steps are
    then those that the network computes with, and `notes` says so for the record. Without them tensors are as stored.
    Raises what `_lsq.quantised` raises.
    """

    def __init__(
        self,
        path: Path,
        state: Mapping[str, npt.NDArray[np.generic]],
        family: str,
        options: Options | None = None,
    ) -> None:
        self.path = path
        self.family = family
        self._state = state
        self.notes: Mapping[str, dict[str, Any]] = {}
        if options is not None:
            given = quantised(path, state, options)
            self._state, self.notes = given.state, given.notes
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def names(self) -> tuple[str, ...]:
        """All names in the file."""
        return tuple(self._state)

    def axes(self, name: str) -> int:
        """Number of axes of a tensor; 0 where it is missing."""
        return self._state[name].ndim if name in self._state else 0

    def take(self, name: str, *shape: int | None) -> FloatArray:
        """The tensor as float64. shape: what it must be; None stands for any length.

        Raises UsageError ND125 where it is missing, is not of numbers, or has another shape.
        """
        if name not in self._state:
            near = [n for n in self._state if n.rsplit(".", 1)[0] == name.rsplit(".", 1)[0]][:3]
            also = f"; it has {', '.join(near)}" if near else ""
            raise UsageError(
                "ND125",
                f"'{self.path}': tensor '{name}' of a {self.family} is missing{also}",
                help="the checkpoint must be a whole state dict of the family's public model class",
            )
        value = self._state[name]
        fits = value.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, value.shape, strict=True)
        )
        if not fits or value.dtype.kind not in "fiu":
            wanted = "x".join("any" if s is None else str(s) for s in shape)
            raise UsageError(
                "ND125",
                f"'{self.path}': tensor '{name}' is {'x'.join(map(str, value.shape))} {value.dtype}, must be {wanted}",
                help="the tensors of the checkpoint contradict each other: was it saved from another model?",
            )
        self._taken.add(name)
        return value.astype(np.float64)

    def left(self, dead: Sequence[str]) -> tuple[str, ...]:
        """Names that nobody took; all of them match one of the patterns `dead`.

        Raises UsageError ND125 for a tensor that is neither used nor known to be dead.
        """
        left = [name for name in self._state if name not in self._taken]
        for name in left:
            if not any(re.fullmatch(pattern, name) for pattern in dead):
                raise UsageError(
                    "ND125",
                    f"'{self.path}': a {self.family} has no tensor '{name}'",
                    help="the model differs from the family's public class: it needs a converter of its own",
                )
        return tuple(left)


def folded(weights: Weights, linear: str, norm: str, weight: FloatArray, eps: float) -> tuple[FloatArray, FloatArray]:
    """(weight, bias) of a linear layer and the batch norm behind it as one layer, in float64.

    y = g (W x + b - m) / sqrt(v + eps) + beta. weight: (C_out, ...), taken from `linear` by the caller.
    """
    n = weight.shape[0]
    bias = weights.take(f"{linear}.bias", n) if f"{linear}.bias" in weights else np.zeros(n)
    mean, variance = weights.take(f"{norm}.running_mean", n), weights.take(f"{norm}.running_var", n)
    if (variance + eps <= 0).any():
        raise UsageError(
            "ND125",
            f"'{weights.path}': tensor '{norm}.running_var' holds {variance.min()}: no variance is negative",
            help="the checkpoint is damaged",
        )
    # batch norm without affine parameters scales by 1 and adds 0; one of the two alone is a damaged file
    affine = f"{norm}.weight" in weights or f"{norm}.bias" in weights
    gain, shift = (weights.take(f"{norm}.{p}", n) for p in ("weight", "bias")) if affine else (np.ones(n), np.zeros(n))
    factor = gain / np.sqrt(variance + eps)
    return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1)), (bias - mean) * factor + shift
