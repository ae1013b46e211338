"""A command that speaks the protocol as the device of a server: it can be ended whatever state it is in."""

from __future__ import annotations

import threading
from typing import Any

from ndeploy.board.link import Command, Link
from ndeploy.board.protocol import AnswerError, Frame, WireError, number

RESET_SECONDS = 30.0


class Relay:
    """A Device. artifact_bytes, stream_bytes: what the command takes.

    The command is started at once, to learn what it is, and anew after it was ended or broke.
    Raises OSError, AnswerError or WireError where it does not start.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._leased = False
        self._newest: Link | None = None
        self._link: Link | None = Link(command, "", begun=self._begun)
        welcome = self._link.welcome
        self._described = {name: welcome.get(name) for name in ("runner", "features", "watts", "meter")}
        try:
            self.artifact_bytes, self.stream_bytes = (
                int(number(welcome, name, 0, 0, 2**53)) for name in ("artifact_bytes", "stream_bytes")
            )
        except WireError:
            self._end()
            raise

    def describe(self) -> dict[str, Any]:
        return self._described

    def ask(self, frame: Frame, limit: float) -> Frame:
        with self._lock:
            try:
                link = self._open()
                fields = {name: value for name, value in frame.fields.items() if name != "id"}
                return link.request(Frame(frame.op, fields, frame.body), limit)
            except AnswerError as error:
                if error.kind not in ("model", "fault", "limit", "usage"):
                    self._end()
                    raise AnswerError("fault", f"the board's command: {error.message}") from error
                raise
            except (OSError, WireError) as error:
                self._end()
                raise AnswerError("fault", f"the board's command failed: {error}") from error

    def abort(self) -> None:
        link = self._newest  # perhaps still in its handshake
        if link is not None:
            link.kill()
        with self._lock:
            self._end()

    def reset(self) -> None:
        with self._lock:
            if self._link is None or not self._leased:
                return
            try:
                self._link.request(Frame("release"), RESET_SECONDS)
                self._leased = False
            except WireError:
                self._end()

    def close(self) -> None:
        self.abort()

    def _open(self) -> Link:
        if self._link is None:
            self._link = Link(self._command, "", begun=self._begun)
        if not self._leased:
            self._link.request(Frame("lease", {"wait": 0.0}), RESET_SECONDS)
            self._leased = True
        return self._link

    def _begun(self, link: Link) -> None:
        self._newest = link

    def _end(self) -> None:
        link, self._link, self._leased = self._link, None, False
        if link is not None:
            link.close()
