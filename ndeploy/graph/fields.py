"""Typed access to the fields of one NIR node as it lies in the file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.graph.hdf5 import Tree
from ndeploy.ir.network import FloatArray

MAX_ELEMENTS = 1 << 28
"""Values of one node; a declared shape beyond it is taken for an attack or a mistake."""


class Fields:
    """The fields of node `name`. Every accessor raises UsageError ND112 that names the node and the field."""

    def __init__(self, name: str, tree: Tree) -> None:
        self.name = name
        self._tree = tree
        self._read = {"type", "metadata"}

    def __contains__(self, key: str) -> bool:
        return key in self._tree

    @property
    def kind(self) -> str:
        return self.text("type")

    @property
    def metadata(self) -> Tree:
        """What tools left beside the parameters; empty where there is nothing."""
        found = self._tree.get("metadata", {})
        return found if isinstance(found, dict) else {}

    def unread(self) -> tuple[str, ...]:
        """Fields that nothing has asked for."""
        return tuple(key for key in self._tree if key not in self._read)

    def _get(self, key: str) -> Any:
        self._read.add(key)
        if key not in self._tree:
            raise UsageError(
                "ND112", f"node '{self.name}' has no field '{key}'", help="the file is incomplete; export it again"
            )
        return self._tree[key]

    def text(self, key: str) -> str:
        """A text."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self.bad(key, "must be a text")
        return value

    def is_text(self, key: str) -> bool:
        """Whether the field is there and a text."""
        return isinstance(self._tree.get(key), str)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._get(key)
        if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 1:
            raise self.bad(key, "must be a list of texts")
        return tuple(str(text) for text in value)

    def array(self, key: str, axes: int | None = None) -> FloatArray:
        """Finite numbers as float64, with `axes` axes if given. Raises ND304 for NaN or infinity."""
        value = self._numbers(key)
        if axes is not None and value.ndim != axes:
            raise self.bad(key, f"has shape {value.shape}, must have {axes} axes")
        result = value.astype(np.float64)
        if not np.isfinite(result).all():
            count = int((~np.isfinite(result)).sum())
            raise UsageError(
                "ND304",
                f"node '{self.name}': {count} of {result.size} values of '{key}' are NaN or infinite",
                help="the training diverged or the file is damaged; export a good checkpoint",
            )
        return result

    def integers(self, key: str) -> IntArray:
        """Whole numbers, in the shape of the file."""
        value = self._numbers(key)
        whole = np.rint(value.astype(np.float64))
        if not np.isfinite(whole).all() or (whole != value).any() or (np.abs(whole) > 2**53).any():
            raise self.bad(key, "must hold whole numbers")
        return np.asarray(whole, dtype=np.int64)

    def integer(self, key: str) -> int:
        """One whole number."""
        value = self.integers(key)
        if value.size != 1:
            raise self.bad(key, f"has shape {value.shape}, must be one number")
        return int(value.reshape(-1)[0])

    def per_axis(self, key: str, axes: int, low: int) -> tuple[int, ...]:
        """One number for each of `axes` axes (one number stands for all), none below `low`."""
        value = tuple(int(v) for v in self.integers(key).reshape(-1))
        if len(value) == 1:
            value *= axes
        if len(value) != axes or min(value) < low or max(value) > MAX_ELEMENTS:
            raise self.bad(key, f"is {value}, must be {axes} numbers of at least {low}")
        return value

    def shape(self, key: str) -> tuple[int, ...]:
        """A shape: positive sizes, at most `MAX_ELEMENTS` values in all."""
        value = tuple(int(v) for v in self.integers(key).reshape(-1))
        check_size(self.name, value)
        return value

    def bad(self, key: str, what: str) -> UsageError:
        """The error for a field that is not what it must be."""
        return UsageError(
            "ND112", f"node '{self.name}': field '{key}' {what}", help="the file is damaged or not NIR; export it again"
        )

    def _numbers(self, key: str) -> np.ndarray[Any, Any]:
        value = self._get(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise self.bad(key, "must hold numbers")
        return value


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """Raises UsageError ND111 for a shape with sizes below one or more than `MAX_ELEMENTS` values."""
    if any(size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise UsageError(
            "ND111",
            f"node '{name}' declares the shape {shape}",
            help=f"sizes must be positive, with at most {MAX_ELEMENTS} values in all",
        )
