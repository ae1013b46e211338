"""A cheap, safe look at a file: what kind it is by its first bytes, and the names it holds.

Converters decide by this whether a file is theirs. Nothing is executed, no tensor is read, and what is read is bounded.
"""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from ndeploy.errors import UsageError

MAX_NAMES = 200_000
"""Names a file may hold before it is refused."""
MAX_PICKLE = 64 * 2**20
"""Bytes of pickle that are looked through: structure only, tensors lie outside it."""
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_NAME = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*\Z")
# torch's legacy format: magic number, protocol, system info, the object, storage keys: five pickles, then raw bytes
_LEGACY_PICKLES = 4


def unreadable(path: Path, why: str) -> UsageError:
    """The error for a file whose kind is known but whose content is damaged."""
    help = "the file is truncated or damaged: fetch it again"
    return UsageError("ND121", f"'{path}' cannot be read: {why}", help=help)


def too_large(path: Path, why: str) -> UsageError:
    """The error for a file that would need more memory than any file of its kind does."""
    return UsageError("ND123", f"'{path}': {why}", help="this looks like a decompression bomb; do not trust the file")


@dataclass(frozen=True)
class Contents:
    """What can be told of a file without loading it.

    kind: "hdf5", "zip-checkpoint" (torch since 1.6), "pickle" (torch before 1.6), "npz", "safetensors", "onnx", "zip",
    "empty" or "unknown".
    """

    path: Path

    @cached_property
    def kind(self) -> str:
        """The format, from the first bytes and, for a zip, the names of its members. Raises UsageError ND101, ND121."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(16)
        except OSError as error:
            raise UsageError(
                "ND101", f"'{self.path}' cannot be opened: {error.strerror}", help="check the path and its permissions"
            ) from error
        if not head:
            return "empty"
        head = head.ljust(16, b"\0")
        if head.startswith(HDF5_MAGIC):
            return "hdf5"
        if head.startswith(b"PK\x03\x04"):
            return self._zip_kind()
        if head[0] == 0x80 and 2 <= head[1] <= 5:
            return "pickle"
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= self.path.stat().st_size:
            return "safetensors"
        if head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x42):
            return "onnx"  # protobuf: field 1 (ir_version) as a varint, then one of ModelProto's next fields
        return "unknown"

    def _zip_kind(self) -> str:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise unreadable(self.path, f"a zip archive without its directory ({error})") from error
        if any(name.endswith("data.pkl") for name in names):
            return "zip-checkpoint"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        return "zip"

    @cached_property
    def _names(self) -> tuple[str, ...]:
        readers: dict[str, Callable[[], Iterator[str]]] = {
            "hdf5": self._hdf5_names,
            "zip-checkpoint": self._zip_checkpoint_names,
            "pickle": self._legacy_names,
            "npz": self._npz_names,
            "safetensors": self._safetensors_names,
        }
        if self.kind not in readers:
            return ()
        names: dict[str, None] = {}
        for name in readers[self.kind]():
            names[name] = None
            if len(names) > MAX_NAMES:
                raise too_large(self.path, f"more than {MAX_NAMES} names")
        return tuple(names)

    def keys(self) -> tuple[str, ...]:
        """HDF5 object paths ("layer/0/weight"), or names found in a checkpoint ("head.weight", without "module.").

        Of a pickle these are all its strings that look like names: state-dict keys and a few others. Empty for kinds
        that have no names. Raises UsageError ND101, ND121 (damaged), ND123 (too large).
        """
        return self._names

    def _hdf5_names(self) -> Iterator[str]:
        import h5py

        found: list[str] = []

        def visit(name: str) -> bool | None:
            found.append(name)
            return True if len(found) > MAX_NAMES else None  # anything but None ends the walk

        try:
            with h5py.File(self.path, "r") as file:
                file.visit(visit)  # hard links only: no link leads out of the file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise unreadable(self.path, str(error)) from error
        yield from found

    def _zip_checkpoint_names(self) -> Iterator[str]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                member = next(m for m in archive.infolist() if m.filename.endswith("data.pkl"))
                if member.file_size > MAX_PICKLE:
                    raise too_large(self.path, f"its structure takes {member.file_size} bytes")
                with archive.open(member) as file:
                    yield from pickle_names(file)
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise unreadable(self.path, str(error)) from error

    def _legacy_names(self) -> Iterator[str]:
        try:
            with open(self.path, "rb") as file:
                for _ in range(_LEGACY_PICKLES):
                    if file.read(1) != b"\x80":
                        return  # a single pickle, not torch's: whoever loads it will say so
                    file.seek(-1, 1)
                    yield from pickle_names(file)
                    if file.tell() > MAX_PICKLE:
                        raise too_large(self.path, f"its structure takes more than {MAX_PICKLE} bytes")
        except (OSError, ValueError, EOFError) as error:
            raise unreadable(self.path, f"not a checkpoint of torch ({error})") from error

    def _npz_names(self) -> Iterator[str]:
        with zipfile.ZipFile(self.path) as archive:
            for name in archive.namelist():
                yield _bare(name.removesuffix(".npy"))

    def _safetensors_names(self) -> Iterator[str]:
        with open(self.path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MAX_PICKLE:
                raise too_large(self.path, f"its header takes {size} bytes")
            raw = file.read(size)
        try:
            header: Any = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise unreadable(self.path, "its header is not JSON") from error
        if not isinstance(header, dict):
            raise unreadable(self.path, "its header is not an object")
        for name in header:
            if name != "__metadata__":
                yield _bare(name)


def _bare(name: str) -> str:
    # torch.nn.DataParallel and DistributedDataParallel put "module." before every name
    return name.removeprefix("module.")


class _Clamped:
    """A file whose reads are bounded: a damaged length in a pickle asks for up to 2^63 bytes at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        return self.file.read(min(size, MAX_PICKLE))

    def readline(self) -> bytes:
        return self.file.readline(MAX_PICKLE)


def pickle_names(file: IO[bytes]) -> Iterator[str]:
    """Strings of one pickle that look like names, read opcode by opcode; nothing is built and nothing is run.

    Raises ValueError where the bytes are no pickle.
    """
    for _, argument, _ in pickletools.genops(cast(IO[bytes], _Clamped(file))):
        if isinstance(argument, str) and len(argument) < 512 and _NAME.match(argument):
            yield _bare(argument)
