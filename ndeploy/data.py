"""Samples from an .npz that a stranger may have made: `x`, and perhaps `y` and `x_scale`."""

from __future__ import annotations

import ast
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import UsageError

MAX_BYTES = 1 << 33
"""Bytes one array may have once unpacked."""


@dataclass(frozen=True, eq=False)
class Data:
    """x: (samples, ...) numbers; y: (samples, ...) integers or None; the network's input is x * x_scale."""

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64] | None = None
    x_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.x)

    def slice(self, start: int, stop: int) -> Data:
        """Samples start..stop - 1."""
        return Data(self.x[start:stop], None if self.y is None else self.y[start:stop], self.x_scale)

    def spread(self, most: int) -> Data:
        """At most `most` samples, evenly over all of them; itself where there are no more."""
        if len(self) <= most:
            return self
        pick = np.unique(np.linspace(0, len(self) - 1, most).astype(int))
        return Data(self.x[pick], None if self.y is None else self.y[pick], self.x_scale)


def load(path: Path, limit: int | None = None) -> Data:
    """Read the data file; `limit` keeps the first samples only.

    Raises UsageError ND101 (no such file), ND501 (not such a file, not finite), ND502 (x and y disagree), ND503 (no
    samples).
    """
    if not path.is_file():
        raise UsageError("ND101", f"data file '{path}' does not exist", help="give the path of an .npz with an array x")
    arrays = _read(path, ("x", "y", "x_scale"))
    if "x" not in arrays:
        raise _bad(path, "it has no array x")
    x = arrays["x"]
    if x.dtype.kind not in "biuf":
        raise _bad(path, f"x holds {x.dtype}, not numbers")
    if x.ndim < 1 or len(x) == 0:
        raise UsageError("ND503", f"'{path}': x has shape {x.shape}: no samples", help="give at least one sample")
    scale = arrays.get("x_scale", np.ones(()))
    if scale.size != 1 or scale.dtype.kind not in "biuf" or not np.isfinite(scale).all() or float(scale.item()) <= 0:
        raise _bad(path, "x_scale is not one positive number")
    data = Data(x, _labels(path, arrays.get("y"), len(x)), float(scale.item()))
    if limit is not None:
        data = data.slice(0, limit)
    if data.x.dtype.kind == "f" and not np.isfinite(data.x).all():
        raise _bad(path, "x holds NaN or infinity")
    return data


def arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an .npz of plain, finite numbers. Raises UsageError ND101 (no such file), ND501 (not such)."""
    if not path.is_file():
        raise UsageError("ND101", f"data file '{path}' does not exist", help="give the path of an .npz")
    found = _read(path, None)
    for name, value in found.items():
        if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise _bad(path, f"{name} holds {value.dtype if value.dtype.kind not in 'biuf' else 'NaN or infinity'}")
    return found


def _labels(path: Path, y: npt.NDArray[Any] | None, samples: int) -> npt.NDArray[np.int64] | None:
    if y is None:
        return None
    if y.ndim < 1 or len(y) != samples:
        raise UsageError(
            "ND502",
            f"'{path}': x has {samples} samples, y has shape {y.shape}",
            help="give y one label, or one sequence of labels, for each sample of x",
        )
    if y.dtype.kind not in "biu":
        raise _bad(path, f"y holds {y.dtype}, not integers")
    return y.astype(np.int64)


def _bad(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND501", f"'{path}' is no usable data file: {why}", help="write it with numpy.savez(path, x=samples, y=labels)"
    )


def _read(path: Path, names: tuple[str, ...] | None) -> dict[str, npt.NDArray[Any]]:
    """The named arrays that are there, or all. Headers are compared with their entries' sizes before data are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if names is not None:
                entries = [info for info in entries if info.filename[:-4] in names]
            if len({info.filename for info in entries}) != len(entries):
                raise ValueError("an array appears twice")
            return {info.filename[:-4]: _array(archive, info) for info in entries}
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except MemoryError as error:
        raise _bad(path, "an array does not fit into memory") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        tokenize.TokenError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise _bad(path, str(error) or type(error).__name__) from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array of plain numbers. Raises ValueError and whatever zipfile raises."""
    with archive.open(info) as file:
        major, minor = np.lib.format.read_magic(file)
        if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"{info.filename} has format version {major}.{minor}")
        size = int.from_bytes(file.read(2 if major == 1 else 4), "little")
        if size > 1 << 16:
            raise ValueError(f"{info.filename} has a header of {size} bytes")
        header = ast.literal_eval(file.read(size).decode("latin1" if major < 3 else "utf8"))
        shape, dtype = tuple(int(n) for n in header["shape"]), np.dtype(header["descr"])
        if dtype.hasobject or dtype.kind not in "biufSU":
            raise ValueError(f"{info.filename} holds {dtype}, not plain numbers")
        count = 1
        for n in shape:
            count *= n
        if any(n < 0 for n in shape) or count * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"{info.filename} declares shape {shape} of {dtype}, its contents have another size")
        if count * dtype.itemsize > MAX_BYTES:
            raise ValueError(f"{info.filename} has {count * dtype.itemsize} bytes, the limit is {MAX_BYTES}")
        # a bytearray: arrays over bytes are read-only, which torch warns of
        values = np.frombuffer(bytearray(file.read()), dtype=dtype)
        order = "F" if header["fortran_order"] else "C"
        return values.reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]
