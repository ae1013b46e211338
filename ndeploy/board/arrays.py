"""Named integer arrays as raw bytes: little-endian, C order, one after another, in the narrowest type that holds them.

The header lists [name, type, shape]; types are "i1", "i2", "i4" and "i8". Whoever reads gets int64.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ndeploy.board.protocol import FrameError
from ndeploy.fixed import IntArray

TYPES = ("i1", "i2", "i4", "i8")
MAX_ARRAYS = 8192
MAX_NAME = 1200
MAX_AXES = 16
VALUES = 1 << 29
"""Values that arrays of one frame may have in all: they become eight bytes each."""


def narrow(array: IntArray) -> np.ndarray[Any, Any]:
    """The array in the narrowest type of TYPES that holds its values."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for name in TYPES:
        info = np.iinfo(np.dtype(f"<{name}"))
        if info.min <= low and high <= info.max:
            return np.ascontiguousarray(array, dtype=f"<{name}")
    raise ValueError("an array holds values beyond 64 bits")


def pack(arrays: Mapping[str, IntArray]) -> tuple[list[list[Any]], bytes]:
    """(list for the header, body)."""
    listed: list[list[Any]] = []
    parts: list[bytes] = []
    for name, array in arrays.items():
        small = narrow(array)
        listed.append([name, small.dtype.str[1:], list(small.shape)])
        parts.append(small.tobytes())
    return listed, b"".join(parts)


def unpack(listed: Any, body: bytes) -> dict[str, IntArray]:
    """The arrays by name, int64. Raises FrameError unless the list is well-formed and fits the body exactly."""
    if not isinstance(listed, list) or len(listed) > MAX_ARRAYS:
        raise FrameError("arrays are listed wrongly, or too many")
    checked = [_entry(entry) for entry in listed]
    if sum(math.prod(shape) for _, _, shape in checked) > VALUES:
        raise FrameError(f"arrays of more than {VALUES} values")
    if sum(math.prod(shape) * kind.itemsize for _, kind, shape in checked) != len(body):
        raise FrameError("the arrays listed do not fill the body")
    found: dict[str, IntArray] = {}
    start = 0
    for name, kind, shape in checked:
        count = math.prod(shape)
        if name in found:
            raise FrameError("two arrays have one name")
        found[name] = np.frombuffer(body, kind, count, start).reshape(shape).astype(np.int64)
        start += count * kind.itemsize
    return found


def _entry(entry: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(entry, list) or len(entry) != 3:
        raise FrameError("an array is listed wrongly")
    name, kind, shape = entry
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or kind not in TYPES:
        raise FrameError("an array has a bad name or type")
    if not isinstance(shape, list) or len(shape) > MAX_AXES or not all(_is_length(n) for n in shape):
        raise FrameError("an array has a bad shape")
    return name, np.dtype(f"<{kind}"), tuple(shape)


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= VALUES


def digest(arrays: Mapping[str, IntArray], names: Iterable[str] | None = None) -> str:
    """sha256 over the arrays in order of name: name, a zero byte, and the values as little-endian int64."""
    found = hashlib.sha256()
    for name in sorted(arrays if names is None else names):
        found.update(name.encode() + b"\0")
        found.update(np.ascontiguousarray(arrays[name], dtype="<i8").tobytes())
    return found.hexdigest()
