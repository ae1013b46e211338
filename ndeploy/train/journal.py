"""Where fine-tuning stands, kept after every epoch so that an interrupted run goes on and ends with the same bytes.

One file (an .npz), written whole or not at all. Its key names everything that the result depends on; a journal of
another key is set aside, never written over, and a file that is no journal is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy import atomic
from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.serial import to_parts

Arrays = Mapping[str, npt.NDArray[Any]]
FORMAT = "ndeploy fine-tuning journal 1"


def key(program: Program, data: Data, options: Mapping[str, Any], more: Arrays) -> str:
    """A hash of the program, the data, the options and further arrays."""
    tree, arrays = to_parts(program)
    digest = hashlib.sha256(json.dumps([FORMAT, tree, dict(options), data.x_scale], sort_keys=True).encode())
    parts = {**{f"program/{n}": a for n, a in arrays.items()}, **more, "x": data.x}
    if data.y is not None:
        parts["y"] = data.y
    for name in sorted(parts):
        value = np.ascontiguousarray(parts[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def read(path: Path | None, wanted: str) -> dict[str, npt.NDArray[Any]] | None:
    """What was kept under that key; None where nothing was. A journal of another key gets the name <path>.old.

    Raises UsageError ND710 for a file that is no such journal or cannot be read.
    """
    if path is None or not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        told = found.pop("format").item(), found.pop("key").item()
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise _unusable(path, "is no journal of fine-tuning, or a damaged one") from error
    if told == (FORMAT, wanted):
        return found
    if not str(told[0]).startswith("ndeploy fine-tuning journal"):
        raise _unusable(path, "is no journal of fine-tuning")
    number = 1
    while (old := Path(f"{path}.old" + (f".{number}" if number > 1 else ""))).exists():
        number += 1
    try:
        path.rename(old)
    except OSError as error:
        raise _unusable(path, f"cannot be set aside: {error.strerror or error}") from error
    return None


def write(path: Path | None, own: str, arrays: Arrays) -> None:
    """Keep arrays under that key. Raises UsageError ND702."""
    if path is None:
        return
    with atomic.writing(path) as file:
        np.savez(file, format=np.array(FORMAT), key=np.array(own), **arrays)  # type: ignore[arg-type]


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError("ND710", f"journal '{path}' {why}", help="name another file; nothing of it was changed")
