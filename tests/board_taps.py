"""Who stands between a client and a board server, listens, and changes what they say."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from boards import where

from ndeploy.board import protocol
from ndeploy.board.server import Server


class Wiretap:
    """Carries connections to a server, keeps what clients say, and may add to it. A context manager."""

    def __init__(
        self,
        server: Server,
        added: Callable[[int, bytes], bytes] = lambda n, data: data,
        altered: Callable[[bytes, bytes], bytes] = lambda who, data: data,
    ) -> None:
        self._to, self._added, self._altered = where(server), added, altered
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self.mute = threading.Event()
        self.said: list[bytes] = []
        self._thread = threading.Thread(target=self._carry)

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Wiretap:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _carry(self) -> None:
        self._listener.settimeout(5.0)
        with contextlib.suppress(OSError):
            near = self._listener.accept()[0]
            with near, socket.create_connection((self._to.host, self._to.port)) as far:
                while not self._stop.is_set():
                    for source in select.select([near, far], [], [], 0.02)[0]:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        if self.mute.is_set():
                            continue
                        if source is near:
                            self.said.append(data)
                            data = self._added(len(self.said), data)
                        data = self._altered(protocol.CLIENT if source is near else protocol.SERVER, data)
                        (far if source is near else near).sendall(data)


class Altered:
    """Changes words in the headers of what one side says, as one who knows the protocol, but not the token, can."""

    def __init__(self, who: bytes, old: bytes, new: bytes) -> None:
        self._who, self._old, self._new = who, old, new
        self._waiting = {protocol.CLIENT: b"", protocol.SERVER: b""}
        self._seen = {protocol.CLIENT: 0, protocol.SERVER: 0}
        self.changed = 0

    def __call__(self, who: bytes, data: bytes) -> bytes:
        """What is passed on: whole frames."""
        self._waiting[who] += data
        found = b""
        while len(self._waiting[who]) >= protocol.PREFIX.size:
            _, header, body, _ = protocol.PREFIX.unpack_from(self._waiting[who])
            end = protocol.PREFIX.size + header + body + protocol.TAG_BYTES
            if len(self._waiting[who]) < end:
                break
            frame, self._waiting[who] = self._waiting[who][:end], self._waiting[who][end:]
            found += self._passed(who, frame, frame[protocol.PREFIX.size :][:header])
            self._seen[who] += 1
        return found

    def _passed(self, who: bytes, frame: bytes, header: bytes) -> bytes:
        if who != self._who or self._old not in header:
            return frame
        self.changed += 1
        header = header.replace(self._old, self._new)
        parts = protocol.prefix_of(len(header), 0), header
        return b"".join((*parts, protocol.tag(b"", who, self._seen[who], *parts)))
