"""Ends a worker and everything it started, and removes the shared memory it leaves behind.

Only segments that a process of the worker's own session has mapped are removed: other workers keep theirs. Everything
is read from /proc before anything is killed. numpy is not needed here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

SHARED = "/dev/shm/"


def session_members(session: int) -> list[int]:
    """Living processes of a session, the leader included; empty where there is no /proc."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        # fields after the name: state, parent, process group, session
        if int(after_name[3]) == session and after_name[0] not in "ZX":
            members.append(int(entry.parent.name))
    return members


def segments_of(processes: Iterable[int]) -> set[str]:
    """Shared memory segments these processes have mapped."""
    found = set()
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/maps").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            path = line.split(maxsplit=5)[-1]
            if path.startswith(SHARED):
                found.add(path.removesuffix(" (deleted)"))
    return found


def remove_segments(paths: Iterable[str]) -> None:
    """Unlink segments that still exist."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def ask_session(session: int, grace: float) -> None:
    """Ask every process of the session to end, and give them so many seconds: a scheduler's client cancels its job."""
    for process in session_members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while session_members(session) and time.monotonic() < deadline:
        time.sleep(0.01)


def end_session(session: int, patience: float = 5.0) -> None:
    """Kill every process of the session and remove what it shared. Safe to call for one that has ended."""
    deadline = time.monotonic() + patience
    while (members := session_members(session)) and time.monotonic() < deadline:
        segments = segments_of(members)
        for process in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        remove_segments(segments)
        time.sleep(0.005)
