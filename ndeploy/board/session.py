"""The server's side of one connection: handshake, queue, lease, and the device's answers."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ndeploy.board import handshake, protocol
from ndeploy.board.channel import Channel
from ndeploy.board.desk import Desk
from ndeploy.board.device import OPERATIONS
from ndeploy.board.leases import QueueFullError, Ticket
from ndeploy.board.protocol import AnswerError, Bounds, Frame, FrameError, GoneError, SlowError, WireError
from ndeploy.printable import printable

DULL = 0.3
"""Seconds a refused token costs: guessing is slow, and holds one of few places."""
LOOK = 0.1
"""Seconds between two looks at the client while the device works."""
ABORT_SECONDS = 10.0
"""A device that was aborted must return within this time."""


def serve(channel: Channel, desk: Desk, where: str, known: Callable[[], None] = lambda: None) -> None:
    """Serve one client until it leaves, misbehaves, or the desk closes. where: the client's address, for the log;
    known: called when it has proved that it knows the token."""
    ticket: list[Ticket] = []
    try:
        peer = handshake.as_server(channel, desk.token, _welcome(desk))
        known()
        _Session(channel, desk, f"{printable(peer.name)} at {where}", ticket).loop()
    except GoneError:
        if desk.stop.is_set():
            _say(channel, AnswerError("closing", "the board server is closing"))
    except AnswerError as error:
        desk.log(f"{where}: {error.kind}: {printable(error.message)}")
        if error.kind == "auth":
            desk.stop.wait(DULL)
        _say(channel, error)
    except SlowError as error:
        desk.log(f"{where}: {error}")
        _say(channel, AnswerError("lease", f"{error}: the connection ends"))
    except WireError as error:
        desk.log(f"{where}: {error}")
        _say(channel, AnswerError("usage", str(error)))
    finally:
        for held in ticket:
            try:
                if held.granted is not None:
                    _clear(desk)
            finally:  # whatever a board does, the next in the queue gets it
                desk.leases.leave(held)
        channel.close()


def _welcome(desk: Desk) -> dict[str, Any]:
    return {**desk.device.describe(), **desk.terms.announced()}


def _say(channel: Channel, error: AnswerError) -> None:
    with contextlib.suppress(WireError):
        channel.send(protocol.error_frame(error))


def _clear(desk: Desk) -> None:
    try:
        desk.device.reset()
    except Exception as error:  # a driver's defect ends with this client
        desk.log(f"the board does not reset: {type(error).__name__}: {printable(str(error)[:300])}")
        desk.device.abort()


class _Session:
    def __init__(self, channel: Channel, desk: Desk, client: str, ticket: list[Ticket]) -> None:
        self._channel, self._desk, self._client = channel, desk, client
        self._tickets = ticket

    def loop(self) -> None:
        while True:
            frame = self._channel.receive(self._bounds(), self._desk.terms.idle)
            if frame.op == "beat":
                continue
            number = frame.fields.get("id")
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
                raise FrameError("a request without an id")
            try:
                answer = self._answer(frame)
            except AnswerError as error:
                self._channel.send(protocol.error_frame(error, number))
                if error.kind == "lease":
                    raise
                continue
            self._channel.send(Frame(answer.op, {**answer.fields, "id": number}, answer.body))

    def _bounds(self) -> Bounds:
        if not self._tickets:
            return Bounds(protocol.HELLO_BYTES, 0)
        return Bounds(protocol.HEADER_BYTES, max(self._desk.terms.artifact_bytes, self._desk.terms.stream_bytes))

    def _answer(self, frame: Frame) -> Frame:
        if frame.op == "status":
            return self._status()
        if frame.op == "lease":
            return self._lease(frame)
        if not self._tickets:
            raise AnswerError("usage", f"'{printable(frame.op)}' needs a lease")
        if self._desk.leases.overdue(self._tickets[0], self._desk.terms.longest):
            raise AnswerError("lease", f"the board was lent for {self._desk.terms.longest:g} s and others wait")
        if frame.op == "release":
            _clear(self._desk)
            self._desk.leases.leave(self._tickets.pop())
            return Frame("released")
        if frame.op not in OPERATIONS:
            raise AnswerError("usage", f"'{printable(frame.op)}' is no request of this protocol")
        limit = self._desk.terms.artifact_bytes if frame.op == "program" else self._desk.terms.stream_bytes
        if len(frame.body) > limit:
            raise AnswerError("limit", f"{len(frame.body)} bytes, this board takes {limit} at once")
        return self._ask(frame)

    def _status(self) -> Frame:
        holder, waiting = self._desk.leases.snapshot()
        return Frame("status", {"busy": holder is not None, "waiting": waiting, "leases": self._desk.leases.granted})

    def _lease(self, frame: Frame) -> Frame:
        if self._tickets:
            raise AnswerError("usage", "this connection has the board already")
        terms = self._desk.terms
        wait = protocol.number(frame.fields, "wait", 0.0, 0.0, terms.wait)
        try:
            ticket = self._desk.leases.enter(self._client)
        except QueueFullError:
            raise AnswerError("busy", f"{terms.waiting} clients wait for this board, no more may") from None
        self._tickets.append(ticket)
        deadline = time.monotonic() + wait
        said = time.monotonic()
        while not self._desk.leases.wait(ticket, min(LOOK, max(0.0, deadline - time.monotonic()))):
            self._check_client()
            now = time.monotonic()
            if now >= deadline:
                self._tickets.remove(ticket)
                self._desk.leases.leave(ticket)
                raise AnswerError("busy", f"another client had the board for the {wait:g} s that this one would wait")
            if now - said >= terms.beat:
                said = now
                self._channel.send(Frame("beat", {"before": self._desk.leases.position(ticket)}))
        self._desk.log(f"lent to {self._client}")
        return Frame("leased")

    def _ask(self, frame: Frame) -> Frame:
        """The device's answer, with signs of life while it works. The device is aborted where the client leaves."""
        answers: queue.SimpleQueue[Frame | BaseException] = queue.SimpleQueue()
        device, terms = self._desk.device, self._desk.terms

        def work() -> None:
            try:
                answers.put(device.ask(frame, terms.run))
            except BaseException as error:
                answers.put(error)

        thread = threading.Thread(target=work, name="board device", daemon=True)
        thread.start()
        began = said = time.monotonic()
        try:
            while True:
                try:
                    answer = answers.get(timeout=LOOK)
                    break
                except queue.Empty:
                    self._check_client()
                now = time.monotonic()
                if now - began > terms.run:
                    raise AnswerError("fault", f"the board did not answer '{frame.op}' within {terms.run:g} s")
                if now - said >= terms.beat:
                    said = now
                    self._channel.send(Frame("beat"))
        except BaseException:
            device.abort()
            thread.join(ABORT_SECONDS)
            raise
        thread.join(ABORT_SECONDS)
        if isinstance(answer, AnswerError):
            raise answer
        if isinstance(answer, BaseException):
            self._desk.log(f"the board failed: {type(answer).__name__}: {printable(str(answer)[:300])}")
            raise AnswerError("fault", f"the board failed: {type(answer).__name__}") from answer
        return answer

    def _check_client(self) -> None:
        if self._desk.stop.is_set():
            raise GoneError("this side is closing")
        if self._channel.left():
            raise GoneError("the client left")
