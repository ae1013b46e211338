"""What a search has measured, kept so that an interrupted one goes on where it stopped.

A journal is a text file of JSON lines: a header {"format", "key"}, then {"task", "value"} for everything measured. A
line is on the disk before `put` returns. What a power cut leaves of a last line is dropped when the file is opened
again. The key names all that a value depends on (network, data, method); a journal of another key is set aside, never
written over.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ndeploy.errors import NdeployError, UsageError

FORMAT = "ndeploy search journal 1"
_START = b'{"format": "ndeploy search journal '


class Journal:
    """Values by task. notes: what was found and done when the file was opened, one sentence each, for the user.

    path: None keeps values in memory alone. Raises UsageError ND710 for a path that cannot be read or written or is
    another kind of file, ND711 while another process has it open. A context manager: leaving it closes the file.
    """

    def __init__(self, path: Path | str | None, key: str) -> None:
        self.path = None if path is None else Path(path)
        self.key = key
        self.notes: tuple[str, ...] = ()
        self._values: dict[str, Mapping[str, Any]] = {}
        self._file: io.FileIO | None = None
        self._end = 0
        if self.path is not None:
            try:
                self._open(self.path)
            except OSError as error:
                self.close()
                raise _unusable(self.path, f"cannot be opened: {error.strerror or error}") from error
            except BaseException:
                self.close()
                raise

    def __len__(self) -> int:
        return len(self._values)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, task: str) -> Mapping[str, Any] | None:
        """What was measured, None if nothing was."""
        return self._values.get(task)

    def put(self, task: str, value: Mapping[str, Any]) -> None:
        """Keep a value of plain JSON; floats come back as they are, the last of two values of a task counts.

        Raises UsageError ND710 if the disk does not take it; what was kept before stays.
        """
        line = json.dumps({"task": task, "value": value}) + "\n"
        if self.path is not None:
            if self._file is None:
                raise ValueError("the journal is closed")
            self._append(self.path, line.encode())
        self._values[task] = json.loads(line)["value"]

    def close(self) -> None:
        """Let go of the file; it stays. More than once does no harm."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> None:
        """Remove the file: the search is done. Raises UsageError ND710 if that is not possible."""
        if self.path is not None and self._file is not None:
            try:
                os.unlink(self.path)
            except OSError as error:
                raise _unusable(self.path, f"cannot be removed: {error.strerror or error}") from error
        self.close()

    def _open(self, path: Path) -> None:
        while True:
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise _unusable(path, "is no file")
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._file = io.FileIO(os.open(path, flags, 0o666), "r+")
            self._lock(path)
            if not _same(self._file, path):  # removed or set aside by its owner before it was locked here
                self.close()
                continue
            content = self._file.readall()
            whole, newline, _ = content.partition(b"\n")
            if not content or (not newline and _torn_header(content)):
                self._file.truncate(0)
                self._end = 0
                self._append(path, (json.dumps({"format": FORMAT, "key": self.key}) + "\n").encode())
                return
            header = _header(whole) if newline else None
            if header is None:
                raise _unusable(path, "is no journal of ndeploy")
            if header == (FORMAT, self.key):
                self._load(path, content, len(whole) + 1)
                return
            self._set_aside(path, "other work" if header[0] == FORMAT else "another version of ndeploy")

    def _load(self, path: Path, content: bytes, start: int) -> None:
        self._end = content.rfind(b"\n") + 1
        damaged = 0
        for line in content[start : self._end].split(b"\n")[:-1]:
            entry = _entry(line)
            if entry is None:
                damaged += 1
            else:
                self._values[entry[0]] = entry[1]
        if self._end < len(content):
            assert self._file is not None
            self._file.truncate(self._end)
            self._note(f"journal '{path}': the last line was not complete and is measured again")
        if damaged:
            self._note(f"journal '{path}': {damaged} damaged lines were passed over and are measured again")
        if self._values:
            self._note(f"journal '{path}': {len(self._values)} measurements are taken from it")

    def _set_aside(self, path: Path, whose: str) -> None:
        number = 1
        while (old := Path(f"{path}.old" + (f".{number}" if number > 1 else ""))).exists() or old.is_symlink():
            number += 1
        os.rename(path, old)
        self.close()
        self._note(f"journal '{path}' was of {whose} and is now '{old}'")

    def _append(self, path: Path, data: bytes) -> None:
        assert self._file is not None
        try:
            self._file.seek(self._end)
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise _unusable(path, f"cannot be written: {error.strerror or error}") from error
        self._end += len(data)

    def _lock(self, path: Path) -> None:
        """The lock goes with the open file: the system lets go of it when the process ends, however it ends."""
        assert self._file is not None
        try:
            import fcntl
        except ImportError:
            self._note(f"journal '{path}': this system has no file locks; use it with one command at a time")
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(
                    "ND711",
                    f"journal '{path}' is in use by another command",
                    help="wait for it or stop it, or name another journal",
                ) from error
            self._note(f"journal '{path}': its file system has no locks; use it with one command at a time")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)


def _unusable(path: Path, why: str) -> NdeployError:
    return UsageError("ND710", f"journal '{path}' {why}", help="name another file; nothing of it was changed")


def _same(file: io.FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _torn_header(content: bytes) -> bool:
    """Whether this is what a power cut leaves of a header: nothing was measured yet."""
    return content.startswith(_START) or _START.startswith(content)


def _header(line: bytes) -> tuple[str, str] | None:
    """Format and key of a journal of any version."""
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not line.startswith(_START):
        return None
    return str(header.get("format")), str(header.get("key"))


def _entry(line: bytes) -> tuple[str, Mapping[str, Any]] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("task"), str)
        or not isinstance(entry.get("value"), dict)
    ):
        return None
    return entry["task"], entry["value"]
