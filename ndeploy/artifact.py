"""model.ndp: a compiled program with its provenance, as a zip of plain data.

    manifest.json         format version, the program's tree, placement, provenance, sha256 of the other entries
    program.safetensors   the program's arrays
    network.nir           the network it was compiled from (optional)

Entries are stored, not deflated: the same input gives the same bytes whatever zlib the machine has, and a file can
never be larger in memory than on the disk. Nothing is unpickled, ever; what is read is checked before it is believed.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ndeploy import atomic, wellformed
from ndeploy.errors import UsageError
from ndeploy.ir import serial
from ndeploy.ir.program import Program

KIND = "ndeploy-artifact"
FORMAT = 1
"""Version of the container; a reader refuses a higher one."""

MANIFEST, ARRAYS, NETWORK = "manifest.json", "program.safetensors", "network.nir"
LIMITS: Mapping[str, int] = {MANIFEST: 1 << 28, ARRAYS: 1 << 32, NETWORK: 1 << 32}
"""Bytes an entry may have: more than any program for a chip needs, less than would exhaust a machine unseen."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: a date would make equal programs differ


@dataclass(frozen=True, eq=False)
class Artifact:
    """A program, and what is known of where it came from.

    placement: the placer's summary, JSON-like. network: the source network as NIR bytes, if kept. meta: JSON-like
    provenance: "target", "settings" with their origin, "toolchain" versions, "source" name and sha256, "options".
    """

    program: Program
    placement: Mapping[str, Any] = field(default_factory=dict)
    network: bytes | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file, however large."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def to_bytes(artifact: Artifact) -> bytes:
    """The file's bytes; equal artifacts give equal bytes.

    Raises ValueError for meta that JSON cannot hold, and for a program that `load` would refuse.
    """
    from safetensors.numpy import save as save_arrays

    wellformed.check(artifact.program)
    tree, arrays = serial.to_parts(artifact.program)
    entries = {ARRAYS: save_arrays(arrays)}
    if artifact.network is not None:
        entries[NETWORK] = artifact.network
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "program_format": serial.FORMAT,
        "program": tree,
        "placement": dict(artifact.placement),
        "meta": dict(artifact.meta),
        "sha256": {name: sha256(data) for name, data in entries.items()},
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: text.encode(), **entries}.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def save(artifact: Artifact, path: Path) -> str:
    """Write the artifact whole or not at all; returns the file's sha256. Raises UsageError ND702."""
    data = to_bytes(artifact)
    atomic.write(path, data)
    return sha256(data)


def is_artifact(path: Path) -> bool:
    """Whether the file calls itself an artifact: a zip that begins with our manifest. Cheap; believes nothing more."""
    try:
        with path.open("rb") as file:
            head = file.read(30 + len(MANIFEST))
    except OSError:
        return False
    return head[:4] == b"PK\x03\x04" and head[30:] == MANIFEST.encode()


def load(path: Path) -> Artifact:
    """Read an artifact that a stranger may have made.

    Raises UsageError ND101 (no such file), ND701 (not an artifact, truncated, damaged, or not a well-formed program),
    ND704 (written by a newer ndeploy), ND705 (contents differ from their recorded sha256).
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError("ND101", f"'{path}' {what}", help="give the path of an artifact written by `ndeploy compile`")
    try:
        entries = _entries(path)
        manifest = json.loads(entries[MANIFEST])
        _check_versions(path, manifest)
        _check_hashes(path, manifest, entries)
        program = serial.from_parts(manifest["program"], _arrays(entries[ARRAYS]))
        wellformed.check(program)
        placement, meta = manifest["placement"], manifest["meta"]
        _check_meta(placement, meta)
    except UsageError:
        raise
    except MemoryError as error:
        raise _bad(path, "it does not fit into memory") from error
    except OSError as error:
        raise UsageError(
            "ND101", f"'{path}' cannot be read: {error.strerror or error}", help="check the file's permissions"
        ) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise _bad(path, str(error) or type(error).__name__) from error
    return Artifact(program, placement, entries.get(NETWORK), meta)


def _bad(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND701",
        f"'{path}' is not a whole ndeploy artifact: {why}",
        help="compile the model again with `ndeploy compile`",
    )


def _entries(path: Path) -> dict[str, bytes]:
    """The archive's entries, read within bounds. Raises ValueError and whatever zipfile raises."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise ValueError("an entry appears twice")
        strange = sorted(set(names) - set(LIMITS))
        if strange:
            raise ValueError(f"it holds '{strange[0][:80]}', which is no part of an artifact")
        for name in (MANIFEST, ARRAYS):
            if name not in names:
                raise ValueError(f"it lacks {name}")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ValueError(f"{info.filename} is compressed; artifacts store their entries")
            if info.file_size > LIMITS[info.filename]:
                raise ValueError(f"{info.filename} has {info.file_size} bytes, the limit is {LIMITS[info.filename]}")
        return {info.filename: archive.read(info) for info in infos}


def _check_versions(path: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ValueError("its manifest is not one of ndeploy's")
    for key, known in (("format", FORMAT), ("program_format", serial.FORMAT)):
        version = manifest[key]
        if not isinstance(version, int):
            raise ValueError(f"{key} is not a number")
        if version > known:
            raise UsageError(
                "ND704",
                f"'{path}' has {key} {version}, this ndeploy reads up to {known}",
                help="upgrade ndeploy, or compile the model again with this version",
            )


def _check_hashes(path: Path, manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
    for name, data in entries.items():
        if name != MANIFEST and manifest["sha256"].get(name) != sha256(data):
            raise UsageError(
                "ND705",
                f"'{path}': {name} is not what was written: its sha256 differs from the manifest's",
                help="fetch the file again, or compile the model again",
            )


def _check_meta(placement: Any, meta: Any) -> None:
    """The parts of the provenance that reports rely on. Raises ValueError."""
    for name, value in (("placement", placement), ("meta", meta)):
        if not isinstance(value, dict):
            raise ValueError(f"{name} is not an object")
    for name in ("settings", "source"):
        if not isinstance(meta.get(name, {}), dict):
            raise ValueError(f"meta.{name} is not an object")
    if not isinstance(meta.get("target", ""), str):
        raise ValueError("meta.target is not a text")
    if not all(isinstance(text, str) for text in meta.get("source", {}).values()):
        raise ValueError("meta.source holds something that is not a text")
    for entry in meta.get("settings", {}).values():
        if not isinstance(entry, dict) or not {"value", "from"} <= set(entry):
            raise ValueError("a setting lacks its value or where it came from")


def _arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    try:
        return load_arrays(data)
    except SafetensorError as error:
        raise ValueError(f"{ARRAYS}: {error}") from error
