"""An HDF5 file from a stranger as a plain tree, bounded and without surprises.

Refused: links that leave the file or its own place (external, soft), datasets whose bytes lie elsewhere (external
storage, virtual), loops of groups, types other than numbers and text, and anything beyond the bounds below.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ndeploy.errors import UsageError

MAX_OBJECTS = 200_000
"""Groups and datasets in one file; the largest published NIR graphs hold some hundred."""
MAX_DEPTH = 32
MAX_BYTES = 4 << 30
"""Decompressed bytes in all: compressed data can declare far more than the file holds."""

Tree = dict[str, Any]
"""Groups are dictionaries; datasets are numpy arrays (also of no axes) or texts."""


def read_tree(source: Path | bytes, root: str = "/") -> Tree:
    """The tree below `root` of a file, or of a file's bytes.

    Raises UsageError ND101 (no such file), ND110 (no HDF5, or damaged), ND111 (refused content, over the bounds).
    """
    path = source if isinstance(source, Path) else Path("<bytes>")
    if isinstance(source, Path) and not source.is_file():
        raise UsageError("ND101", f"'{path}' is not a readable file", help="check the path")
    try:
        with h5py.File(source if isinstance(source, Path) else io.BytesIO(source), "r") as file:
            group = file.get(root)
            if not isinstance(group, h5py.Group):
                raise UsageError(
                    "ND110", f"'{path}': there is no group '{root}'", help="is this a NIR file? It has a group /node"
                )
            return _Walk(path).group(group, root, ())
    # h5py reports damage as any of these, from deep inside the library
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError) as error:
        raise UsageError(
            "ND110",
            f"'{path}' is no HDF5 file, or it is damaged: {str(error).splitlines()[0] if str(error) else error!r}",
            help="copy or export the file again",
        ) from error


class _Walk:
    """One pass over a file, counting what it takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = 0
        self.bytes = 0

    def group(self, group: h5py.Group, where: str, above: tuple[int, ...]) -> Tree:
        address = h5py.h5o.get_info(group.id).addr
        if address in above:
            self._refuse(where, "a group that contains itself")
        if len(above) >= MAX_DEPTH:
            self._refuse(where, f"groups nested deeper than {MAX_DEPTH}")
        tree: Tree = {}
        for key in group:
            here = f"{where.rstrip('/')}/{key}"
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                self._refuse(here, f"more than {MAX_OBJECTS} objects")
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                self._refuse(here, f"a {type(link).__name__}")
            item = group[key]
            if isinstance(item, h5py.Group):
                tree[key] = self.group(item, here, (*above, address))
            elif isinstance(item, h5py.Dataset):
                tree[key] = self._dataset(item, here)
            else:
                self._refuse(here, f"a {type(item).__name__}")
        return tree

    def _dataset(self, dataset: h5py.Dataset, where: str) -> Any:
        if dataset.is_virtual or dataset.external:
            self._refuse(where, "data stored in another file")
        text = h5py.check_string_dtype(dataset.dtype) is not None
        if not text and dataset.dtype.kind not in "biuf":
            self._refuse(where, f"data of type {dataset.dtype}")
        if dataset.shape is None:
            return np.zeros(0)
        self.bytes += math.prod(dataset.shape) * dataset.dtype.itemsize
        if self.bytes > MAX_BYTES:
            self._refuse(where, f"an array of shape {dataset.shape}, more than {MAX_BYTES >> 30} GiB in all")
        value = dataset[()]
        if not text:
            return np.asarray(value)
        if isinstance(value, bytes | str):
            return _text(value)
        return np.array([_text(v) for v in np.asarray(value).reshape(-1)], dtype=object).reshape(dataset.shape)

    def _refuse(self, where: str, what: str) -> None:
        raise UsageError(
            "ND111",
            f"'{self.path}': '{where}' is {what}",
            help="a NIR file holds plain groups and arrays only; export the network again from its framework",
        )


def _text(value: object) -> str:
    return value.decode("utf-8", "strict") if isinstance(value, bytes) else str(value)
