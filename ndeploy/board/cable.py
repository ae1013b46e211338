"""A bad cable between a client and a board: a TCP proxy on this machine that damages what it carries, by a seed.

Part of the test bench (faults.py is the other part): nothing else uses it.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from collections.abc import Mapping

KINDS = ("cut", "damage", "garbage", "stall")


class Cable:
    """Carries connections to host:port. rates: probability of each of KINDS, by block of at most 16 KiB.

    A context manager; `port` is where to connect. happened: the faults so far.
    """

    def __init__(self, host: str, port: int, rates: Mapping[str, float], seed: int) -> None:
        self._to = (host, port)
        self._rates = rates
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept, name="cable", daemon=True)]
        self._threads[0].start()
        self.happened: list[str] = []

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        for thread in list(self._threads):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                near = self._listener.accept()[0]
                thread = threading.Thread(target=self._carry, args=(near,), name="cable", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._to, 5.0) as far:
            ends = {near: far, far: near}
            while not self._stop.is_set():
                for source in select.select(list(ends), [], [], 0.05)[0]:
                    data = source.recv(1 << 14)
                    fault = self._draw() if data else "cut"
                    if fault == "cut":
                        return
                    if fault == "stall":
                        self._stop.wait(30.0)
                        return
                    ends[source].sendall(self._harmed(data, fault))

    def _draw(self) -> str:
        with self._lock:
            for kind in KINDS:
                if self._random.random() < self._rates.get(kind, 0.0):
                    self.happened.append(kind)
                    return kind
        return ""

    def _harmed(self, data: bytes, fault: str) -> bytes:
        if fault == "damage":
            harmed = bytearray(data)
            harmed[self._random.randrange(len(harmed))] ^= 1 << self._random.randrange(8)
            return bytes(harmed)
        if fault == "garbage":
            return data + self._random.randbytes(64)
        return data
