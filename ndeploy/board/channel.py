"""Frames over two file descriptors (a socket twice, or two pipes), with a time limit on everything."""

from __future__ import annotations

import hmac
import os
import select
import threading
import time
from collections.abc import Callable

from ndeploy.board import protocol
from ndeploy.board.protocol import Bounds, Frame, FrameError, GoneError, SlowError

FRAME_SECONDS = 10.0
"""A frame that has begun may stay behind MIN_RATE for so long."""
MIN_RATE = 64 * 1024
"""Bytes a second; a peer that is slower stalls. What counts are the bytes that came, not those announced."""
SLICE = 0.1
"""Seconds between two looks at `stop`."""
BLOCK = 1 << 18


def _nothing() -> None:
    pass


class Channel:
    """One end of a connection. side: CLIENT or SERVER; stop: when set, every wait ends with GoneError.

    One thread receives; any thread may send. Both descriptors are made non-blocking. tags: of the last frame of each
    side.
    """

    def __init__(
        self,
        read: int,
        write: int,
        side: bytes,
        *,
        close: Callable[[], None] = _nothing,
        stop: threading.Event | None = None,
    ) -> None:
        self._read, self._write = read, write
        self._side = side
        self._peer = protocol.SERVER if side == protocol.CLIENT else protocol.CLIENT
        self._key = b""
        self._sent = self._received = 0
        self.tags: dict[bytes, bytes] = {}
        self._buffer = bytearray()
        self._ended = self._closed = False
        self._sending = threading.Lock()
        self._close = close
        self._stop = stop or threading.Event()
        for descriptor in {read, write}:
            os.set_blocking(descriptor, False)

    def secure(self, key: bytes) -> None:
        """Use this key from the next frame on, both ways."""
        self._key = key

    def close(self) -> None:
        """Let go of the descriptors. May be called twice."""
        with self._sending:
            close, self._close = self._close, _nothing
            self._ended = self._closed = True
            close()

    def send(self, frame: Frame) -> None:
        """Raises GoneError, or SlowError where the peer does not take it."""
        with self._sending:
            if self._closed:
                raise GoneError("the connection is closed")
            parts = protocol.encode(frame, self._key, self._side, self._sent)
            self._sent += 1
            self.tags[self._side] = parts[-1]
            deadline = time.monotonic() + FRAME_SECONDS
            for part in parts:
                deadline = self._put(memoryview(part), deadline)

    def receive(self, bounds: Bounds, patience: float, within: float | None = None) -> Frame:
        """The next frame. patience: seconds until its first byte; within: seconds until its last, where that is
        sooner than MIN_RATE would have it. Raises FrameError, GoneError, SlowError."""
        began = time.monotonic()
        latest = began + within if within is not None else float("inf")
        self._fill(1, lambda: min(began + patience, latest))
        begun = time.monotonic()

        def deadline() -> float:
            return min(begun + FRAME_SECONDS + len(self._buffer) / MIN_RATE, latest)

        self._fill(protocol.PREFIX.size, deadline)
        prefix = bytes(self._buffer[: protocol.PREFIX.size])
        header_size, body_size = protocol.sizes(prefix, bounds)
        total = len(prefix) + header_size + body_size + protocol.TAG_BYTES
        self._fill(total, deadline)
        with memoryview(self._buffer) as view:
            at = len(prefix) + header_size
            header, body = bytes(view[len(prefix) : at]), bytes(view[at : at + body_size])
            given = bytes(view[at + body_size : total])
        del self._buffer[:total]
        wanted = protocol.tag(self._key, self._peer, self._received, prefix, header, body)
        self._received += 1
        if not hmac.compare_digest(given, wanted):
            raise FrameError("the checksum is wrong: the frame was damaged, lost, repeated or forged on its way")
        self.tags[self._peer] = wanted
        return protocol.decode(header, body)

    def waiting(self) -> bool:
        """Whether something has arrived."""
        self._take_ready()
        return bool(self._buffer)

    def left(self) -> bool:
        """Whether the peer has closed its end, as far as can be seen now."""
        self._take_ready()
        return self._ended

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _take_ready(self) -> None:
        """Take what has arrived, without waiting; of an endless stream one block."""
        if not self._ended and len(self._buffer) < BLOCK and _ready(self._read, select.POLLIN, 0.0):
            self._take(BLOCK)

    def _take(self, most: int) -> None:
        try:
            data = os.read(self._read, most)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._ended = self._ended or not data
        self._buffer += data

    def _fill(self, size: int, deadline: Callable[[], float]) -> None:
        """Wait until the buffer holds `size` bytes; memory grows with what has come, not with what was announced."""
        while len(self._buffer) < size:
            if self._ended:
                raise GoneError("the other side has closed the connection")
            left = deadline() - time.monotonic()
            if self._stop.is_set():
                raise GoneError("this side is closing")
            if left <= 0:
                raise SlowError("nothing, or too little, came in time")
            if _ready(self._read, select.POLLIN, min(left, SLICE)):
                self._take(min(size - len(self._buffer), 1 << 22))

    def _put(self, data: memoryview, deadline: float) -> float:
        """The deadline, later by what MIN_RATE grants the bytes that were taken."""
        while data:
            left = deadline - time.monotonic()
            if self._stop.is_set():
                raise GoneError("this side is closing")
            if left <= 0:
                raise SlowError("the other side does not take what it is sent")
            if _ready(self._write, select.POLLOUT, min(left, SLICE)):
                try:
                    taken = os.write(self._write, data[:BLOCK])
                    data, deadline = data[taken:], deadline + taken / MIN_RATE
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._ended = True
                    raise GoneError("the other side has closed the connection") from error
        return deadline


def _ready(descriptor: int, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, seconds) * 1000))
