"""The client's side of one connection: where a board is, and asking it one thing at a time."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ndeploy.board import handshake, protocol
from ndeploy.board.channel import Channel
from ndeploy.board.child import Child
from ndeploy.board.protocol import Bounds, Frame, FrameError, SlowError, WireError
from ndeploy.errors import UsageError

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 60.0
"""A command that serves a board may have much to import before it speaks."""
MISSED_BEATS = 5
"""A board that missed so many signs of life hangs."""
ANSWER_BOUNDS = Bounds(protocol.HEADER_BYTES, protocol.ARTIFACT_BYTES)


@dataclass(frozen=True)
class Tcp:
    """A server. host: a name or an address."""

    host: str
    port: int


@dataclass(frozen=True)
class Command:
    """A command that is started for the purpose."""

    words: tuple[str, ...]


def address(url: str) -> Tcp | Command:
    """Of "tcp://HOST:PORT" or "exec:COMMAND ARGUMENTS". Raises UsageError ND621."""
    found = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.%]+\]|[\w.-]+):(\d{1,5})/?", url)
    if found and 0 < int(found[2]) < 65536:
        return Tcp(found[1].strip("[]"), int(found[2]))
    if url.startswith("exec:"):
        with contextlib.suppress(ValueError):
            words = tuple(shlex.split(url[len("exec:") :]))
            if words:
                return Command(words)
    raise UsageError(
        "ND621",
        f"'{url[:200]}' is no address of a board",
        help="give tcp://HOST:PORT of `ndeploy board serve`, or exec:COMMAND that speaks its protocol (docs/board.md)",
    )


def client_name() -> str:
    """How this process is called in the board's log and messages."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "?"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


class Link:
    """A connection that has been welcomed. A context manager.

    While it is open a thread tells the board now and then that we live. begun: given the link before the handshake, so
    that another thread can `kill` it. Raises OSError (nothing there), AnswerError, WireError.
    """

    def __init__(
        self,
        where: Tcp | Command,
        token: str,
        seconds: float | None = None,
        begun: Callable[[Link], None] | None = None,
    ) -> None:
        self._child: Child | None = None
        self._next = 0
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        if isinstance(where, Command):
            self._child = Child(where.words)
            self.channel = self._child.channel
        else:
            connection = socket.create_connection((where.host, where.port), seconds or CONNECT_SECONDS)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.channel = Channel(
                connection.fileno(), connection.fileno(), protocol.CLIENT, close=connection.close, stop=self._closing
            )
        if begun is not None:
            begun(self)
        try:
            patience = seconds or (CONNECT_SECONDS if self._child is None else COMMAND_SECONDS)
            self.welcome: Mapping[str, Any] = handshake.as_client(self.channel, token, client_name(), patience)
            self._beat = protocol.number(self.welcome, "beat", 2.0, 0.01, 60.0)
            idle = protocol.number(self.welcome, "idle", 60.0, 0.05, 1e6)
        except BaseException:
            self.close()
            raise
        self._keeper = threading.Thread(target=self._keep, args=(idle / 3,), name="board keeper", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def request(
        self,
        frame: Frame,
        limit: float,
        *,
        watch: Callable[[Frame], None] | None = None,
        bounds: Bounds = ANSWER_BOUNDS,
    ) -> Frame:
        """The answer. limit: seconds; watch: told of signs of life.

        Raises AnswerError (what the board says), SlowError, GoneError, FrameError; after any but AnswerError the
        connection is of no use.
        """
        mine, self._next = self._next, self._next + 1
        deadline = time.monotonic() + limit
        self.channel.send(Frame(frame.op, {**frame.fields, "id": mine}, frame.body))
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SlowError(f"no answer to '{frame.op}' within {limit:g} s")
            patience = min(left, MISSED_BEATS * self._beat + 1.0)
            answer = self.channel.receive(bounds, patience, within=left)
            if answer.op == "beat":
                if watch is not None:
                    watch(answer)
                continue
            if answer.op == "error":
                raise protocol.answer_error(answer)
            if answer.fields.get("id") != mine:
                raise FrameError(f"an answer to another request than '{frame.op}'")
            return answer

    def kill(self) -> None:
        """Make whatever waits on this link fail soon; any thread may call. `close` must follow."""
        self._closing.set()
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """Leave. The board gives the lease to the next. May be called twice."""
        self._closing.set()
        if self._child is not None:
            self._child.stop.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._child is not None:
            self._child.close()
        self.channel.close()

    def _keep(self, seconds: float) -> None:
        while not self._closing.wait(seconds):
            try:
                self.channel.send(Frame("beat"))
            except WireError:
                return  # whoever asks next finds out why
