"""One process at a time for a board that is a command: a lock on a file, which the system lets go of when the process
that holds it ends, however it ends. Boards behind a server need none: the server lends them to one client at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ndeploy.errors import UnreachableError, UsageError
from ndeploy.printable import printable

MARK = "NDEPLOY_BOARD_LOCK_"
"""Environment variable, with the lock's name, of what is started while the lock is held."""
LOOK = 0.1
"""Seconds between two tries."""
TOLD = 2.0
"""Seconds between two words to whoever waits."""


@contextmanager
def held(
    words: Sequence[str], seconds: float, progress: Callable[[str], None], folder: Path | None = None
) -> Iterator[None]:
    """Nobody else of this user on this machine runs the command meanwhile. seconds: to wait at most.

    Raises UnreachableError ND623 where that is not enough, UsageError ND668 where the lock's folder is not ours.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system: docs/testing.md says so
        yield
        return
    path = _folder(folder) / hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
    deadline = time.monotonic() + seconds
    told = 0.0
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if now >= deadline:
                    raise _busy(file, seconds) from None
                if now - told >= TOLD:
                    told = now
                    progress(f"waiting for the board: {_owner(file)} has it")
                time.sleep(min(LOOK, max(0.0, deadline - now)))
                continue
            if not _same(file, path):
                continue  # whoever had it has removed it meanwhile: another may hold a new one
            if os.fstat(file).st_size:  # whoever had it was killed: what it had started may still use the board
                _outlast(path.name, file, deadline, seconds, progress)
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()}".encode())
            os.environ[MARK + path.name] = "1"
            try:
                yield
                return
            finally:
                os.environ.pop(MARK + path.name, None)
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        finally:
            os.close(file)


def _outlast(name: str, file: int, deadline: float, seconds: float, progress: Callable[[str], None]) -> None:
    """Wait for the end of what the last owner has started. Raises UnreachableError ND623."""
    while started := with_environment(MARK + name, "1"):
        if time.monotonic() >= deadline:
            raise _busy(file, seconds)
        progress(f"waiting for the board: process {started[0]} of a client that was killed has it")
        time.sleep(LOOK)


def with_environment(name: str, value: str) -> list[int]:
    """Processes of this user that were started with that variable; none where there is no /proc."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # what has ended has no environment any more
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _folder(given: Path | None) -> Path:
    """A folder that only this user can write, the same for all of the user's processes."""
    if given is None:
        lasting = Path("/var/tmp")
        given = (lasting if lasting.is_dir() else Path(tempfile.gettempdir())) / f"ndeploy-boards-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(given, 0o700)
        found = os.lstat(given)
    except OSError as error:
        why = f"the folder '{given}' for locks of boards cannot be made: {error.strerror or error}"
        raise UsageError(
            "ND668", why, help="make it, with mode 0700, or use a board behind `ndeploy board serve`"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            "ND668",
            f"the folder '{given}' for locks of boards is not a folder of this user alone (mode 0700)",
            help="see who made it, and remove it",
        )
    return given


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(file: int) -> str:
    """Who has it, in words."""
    text = printable(os.pread(file, 80, 0).decode("ascii", "replace"))
    return text or "another process"


def _busy(file: int, seconds: float) -> UnreachableError:
    return UnreachableError(
        "ND623",
        f"the board is busy: {_owner(file)} had its command for the {seconds:g} s that this one would wait",
        help="try again later, or use another board",
    )
