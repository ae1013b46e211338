"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ndeploy.errors import UsageError


def cannot_write(path: Path, error: OSError) -> UsageError:
    """UsageError ND702 for a path and what the system said."""
    return UsageError(
        "ND702",
        f"'{path}' cannot be written: {error.strerror or error}",
        help="choose another place, in a folder that exists, or free space; nothing was left half-written",
    )


def check_writable(path: Path) -> None:
    """Try the folder before long work whose result goes to `path`. Raises UsageError ND702."""
    if path.is_dir():
        raise UsageError("ND702", f"'{path}' is a folder", help="name a file")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        os.unlink(name)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` when the block ends well, and vanishes when it does not.

    It is written beside its final place, flushed to the disk, and renamed. Raises UsageError ND702.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all. Raises UsageError ND702."""
    with writing(path) as file:
        file.write(data)
