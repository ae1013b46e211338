"""Reading lava-dl NetX .net files: HDF5 groups layer/0, layer/1, ... as checked integer records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray

MAX_VALUES = 2**28
"""Numbers in one array of a .net file: more than any chip has synapses."""
MAX_LAYERS = 10_000


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: its number, its type, and the numbers and texts under it ("weight", "neuron/vThMant", ...)."""

    path: Path
    index: int
    type: str
    numbers: Mapping[str, npt.NDArray[np.float64]]
    texts: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"layer{self.index}"

    @property
    def has_neuron(self) -> bool:
        return any(key.startswith("neuron/") for key in (*self.numbers, *self.texts))

    def error(self, why: str) -> UsageError:
        """ND131 for this layer."""
        return UsageError(
            "ND131",
            f"'{self.path}': layer {self.index} ({self.type}): {why}",
            help="export the network again with lava-dl's export_hdf5",
        )

    def integers(self, key: str) -> IntArray:
        """An array of whole numbers. Raises UsageError ND131 where it is missing, ND304 where it is no number."""
        if key not in self.numbers:
            raise self.error(f"it has no '{key}'")
        value = self.numbers[key]
        if not np.isfinite(value).all():
            raise UsageError(
                "ND304",
                f"'{self.path}': layer {self.index}: '{key}' holds values that are NaN or infinite",
                help="train or export the network again",
            )
        whole = np.rint(value)
        if (np.abs(value - whole) > 1e-3).any() or (np.abs(whole) > 2**40).any():
            worst = value.reshape(-1)[int(np.abs(value - whole).argmax())]
            raise self.error(f"'{key}' must hold whole numbers, it holds {worst:g}; export with the quantised weights")
        return np.asarray(whole, dtype=np.int64)

    def integer(self, key: str, default: int | None = None) -> int:
        """One whole number, or the default where the key is missing."""
        if key not in self.numbers and default is not None:
            return default
        value = self.integers(key)
        if value.size != 1:
            raise self.error(f"'{key}' must be one number, it has shape {value.shape}")
        return int(value.reshape(-1)[0])

    def pair(self, key: str, default: int) -> tuple[int, int]:
        """(height, width); one number stands for both."""
        value = self.integers(key).reshape(-1) if key in self.numbers else np.array([default])
        if value.size not in (1, 2):
            raise self.error(f"'{key}' must be one or two numbers, it has {value.size}")
        return int(value[0]), int(value[-1])

    def shape(self) -> tuple[int, ...]:
        """The layer's output shape as the file has it: (C, H, W) or (N,)."""
        value = self.integers("shape").reshape(-1)
        if not 1 <= value.size <= 3 or (value < 1).any() or int(np.prod(value)) > MAX_VALUES:
            raise self.error(f"shape {tuple(value.tolist())} is none of a layer")
        return tuple(int(v) for v in value)


def read(path: Path) -> tuple[tuple[Layer, ...], int | None]:
    """All layers in order, and the steps a sample has (simulation/tSample) or None.

    Raises UsageError ND121 (no HDF5 file, damaged), ND123 (an array of more than 2^28 values), ND131.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            group = file.get("layer")
            if not isinstance(group, h5py.Group) or not 0 < len(group) <= MAX_LAYERS:
                raise UsageError(
                    "ND131", f"'{path}' has no group 'layer' with layers in it", help="give a file of lava-dl's netx"
                )
            layers = tuple(_layer(path, i, group.get(str(i))) for i in range(len(group)))
            steps = file.get("simulation/tSample")
            value = steps[()] if isinstance(steps, h5py.Dataset) and steps.size == 1 else None
            return layers, None if value is None else int(np.asarray(value).reshape(-1)[0])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError) as error:
        raise UsageError(
            "ND121", f"'{path}' cannot be read: {error}", help="the file is truncated or damaged: fetch it again"
        ) from error


def _layer(path: Path, index: int, group: Any) -> Layer:
    import h5py

    numbers: dict[str, npt.NDArray[np.float64]] = {}
    texts: dict[str, str] = {}
    blank = Layer(path, index, "?", {}, {})
    if not isinstance(group, h5py.Group):
        raise blank.error(f"there is no group 'layer/{index}'; layers are numbered from 0 without gaps")

    def visit(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.size is None or item.size > MAX_VALUES:
            raise UsageError(
                "ND123", f"'{path}': layer {index}: '{key}' claims {item.size} values", help="do not trust the file"
            )
        if item.dtype.kind in "biuf":
            numbers[key] = np.asarray(item[()], dtype=np.float64)
        elif item.dtype.kind in "SO" and item.size == 1:
            texts[key] = _text(item[()])

    group.visititems(visit)
    return Layer(path, index, texts.get("type", "?"), numbers, texts)


def _text(value: Any) -> str:
    value = np.asarray(value).reshape(-1)[0]
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
