"""One run at a time on a Loihi: a lock on a file, named by the board, which the worker's processes hold with us.

The system lets go of a lock when the last process that holds it has ended. Whoever waits therefore gets the board when
nothing of the run before is left, whichever process was killed, and in which order.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ndeploy.errors import UnreachableError

WAIT_SECONDS = 3600.0
"""Longest wait for a board where no time limit is given."""
BOARD_VARIABLES = ("NXSDKHOST", "BOARD", "PARTITION")
"""Environment variables that say which board it is: lava-nc 0.10.0, lava/utils/loihi.py and lava/utils/slurm.py."""


def board(environment: Mapping[str, str]) -> str:
    """The board that these settings mean, in words."""
    named = [f"{name}={environment[name]}" for name in BOARD_VARIABLES if environment.get(name)]
    return " ".join(named) or "the local board"


class Lease:
    """A context manager; the board is ours between `acquire` and the end. descriptor: what a worker must inherit.

    folder: of the lock files, None for one of this user on this machine. Raises UnreachableError ND677 where that is
    not this user's alone.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._name = name
        path = _folder(folder) / (hashlib.sha256(name.encode()).hexdigest()[:32] + ".lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._held = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def descriptor(self) -> int:
        return self._file

    def acquire(self, seconds: float | None, progress: Callable[[str], None]) -> None:
        """Wait for the board, at most so long. May be called again. Raises UnreachableError ND677."""
        if self._held:
            return
        limit = WAIT_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + limit
        told = -1
        while not self._locked():
            left = deadline - time.monotonic()
            if left <= 0:
                raise UnreachableError(
                    "ND677",
                    f"a Loihi ({self._name}) was not free within {limit:g} s: {self._holder()} has it",
                    help="wait for it, name another board with BOARD or NXSDKHOST, or raise --time-limit",
                )
            if int(left) // 5 != told:
                told = int(left) // 5
                progress(f"waiting for a Loihi ({self._name}): {self._holder()} has it")
            time.sleep(min(0.1, left))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()}".encode(), 0)
        self._held = True

    def close(self) -> None:
        """Give it back; processes that inherited it keep it until they end. May be called twice."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)
        self._held = False

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> str:
        text = os.pread(self._file, 80, 0).decode("ascii", "replace")
        return text if text.isprintable() and text else "another process"


def _folder(given: Path | None) -> Path:
    """A folder that only this user may write."""
    found = given or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"ndeploy-loihi-{os.getuid()}"
    try:
        found.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(found)
    except OSError as error:
        raise _not_ours(found, error.strerror or str(error)) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise _not_ours(found, "it is not a folder that only this user may write")
    return found


def _not_ours(folder: Path, why: str) -> UnreachableError:
    return UnreachableError(
        "ND677", f"no lock for a Loihi can be kept in '{folder}': {why}", help="remove it, or set XDG_RUNTIME_DIR"
    )
