"""A command that speaks the protocol over its stdin and stdout, started and ended by us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence

from ndeploy.board import protocol
from ndeploy.board.channel import Channel

STARTED = "NDEPLOY_BOARD_STARTED"
"""Environment variable of a command: how often this process has started it before."""
GRACE = 1.0
"""Seconds that a command whose stdin was closed has to end by itself."""
_starts: Counter[tuple[str, ...]] = Counter()
_counting = threading.Lock()


class Child:
    """The running command, leader of a session of its own: whatever it starts ends with it.

    Raises OSError where the command cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        with _counting:
            before = _starts[tuple(command)]
            _starts[tuple(command)] += 1
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, STARTED: str(before)},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipes = (self._process.stdin, self._process.stdout)
        self.stop = threading.Event()
        self.channel = Channel(
            self._pipes[1].fileno(), self._pipes[0].fileno(), protocol.CLIENT, close=self._close_pipes, stop=self.stop
        )

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once; any thread may call. `close` must follow."""
        self.stop.set()
        if self._process.returncode is None:  # not yet waited for, so that the id is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, grace: float = GRACE) -> None:
        """Close its stdin, let it end, end what is left of it. May be called twice."""
        self.channel.close()
        if self._process.returncode is not None:
            return
        deadline = time.monotonic() + grace
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()  # the leader is not reaped yet: nobody else can have its id
        self._process.wait()

    def _ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()
