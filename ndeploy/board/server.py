"""A board server: connections over TCP, or one over stdin and stdout."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from ndeploy.board import protocol
from ndeploy.board.channel import Channel
from ndeploy.board.desk import Desk, Terms
from ndeploy.board.device import Device
from ndeploy.board.leases import LeaseBook
from ndeploy.board.session import ABORT_SECONDS, serve
from ndeploy.errors import UsageError

CONNECTIONS = 32
"""At once; each costs a thread. Those that have not proved the token yet leave within handshake.SECONDS; where there
are too many, the one of them that came first leaves for the next."""
MOMENT = 0.3
"""Seconds in which a stranger that was shown out is gone: a little more than channel.SLICE."""
TOKEN_LETTERS = 16
"""Shortest token: whoever can listen may try tokens at leisure."""


def _quiet(line: str) -> None:
    pass


class Server:
    """Listens from its construction on; `serve_forever` accepts. A context manager that closes everything.

    Raises UsageError ND631: a token that is too short, or an address that cannot be listened on.
    """

    def __init__(
        self, device: Device, host: str, port: int, token: str, terms: Terms, log: Callable[[str], None] = _quiet
    ) -> None:
        if len(token) < TOKEN_LETTERS:
            raise UsageError(
                "ND631",
                f"the token has {len(token)} characters, at least {TOKEN_LETTERS} are needed",
                help="put a random one into NDEPLOY_BOARD_TOKEN, as `openssl rand -hex 24` prints",
            )
        self._desk = Desk(device, terms, LeaseBook(terms.waiting), token, log=log)
        self._threads: dict[threading.Thread, socket.socket | None] = {}
        self._threads_lock = threading.Lock()
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=CONNECTIONS)
        except (OSError, OverflowError) as error:
            raise UsageError(
                "ND631",
                f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
                help="choose another address with --listen HOST:PORT; port 0 takes a free one",
            ) from error
        self._listener.settimeout(0.1)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self._listener.getsockname()[:2]
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    @property
    def leases(self) -> LeaseBook:
        """The queue, to be looked at."""
        return self._desk.leases

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def serve_forever(self) -> None:
        """Accept until `close` is called, from another thread or by an exception such as KeyboardInterrupt."""
        while not self._desk.stop.is_set():
            try:
                connection, address = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # out of descriptors: some connection will end; or closed meanwhile
                if self._desk.stop.wait(0.1):
                    return
                continue
            self._take(connection, str(address[0]))

    def close(self) -> None:
        """End every connection and the device. May be called twice."""
        self._desk.stop.set()
        self._listener.close()
        deadline = time.monotonic() + ABORT_SECONDS
        with self._threads_lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._desk.device.close()

    def _take(self, connection: socket.socket, where: str) -> None:
        with self._threads_lock:
            full = len(self._threads) >= CONNECTIONS
            stranger = next((other for other in self._threads.values() if other is not None), None)
        if full:
            if stranger is not None:
                with contextlib.suppress(OSError):
                    stranger.shutdown(socket.SHUT_RDWR)  # its own thread sees that and closes it
            if stranger is None or not self._room():
                connection.close()
                return
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(
            connection.fileno(), connection.fileno(), protocol.SERVER, close=connection.close, stop=self._desk.stop
        )
        thread = threading.Thread(target=self._run, args=(channel, where), name="board client", daemon=True)
        with self._threads_lock:  # `close` joins only what has started
            if self._desk.stop.is_set():
                channel.close()
                return
            self._threads[thread] = connection
            thread.start()

    def _run(self, channel: Channel, where: str) -> None:
        try:
            serve(channel, self._desk, where, self._known)
        except Exception as error:  # one connection's defect must not take the board from the others
            self._desk.log(f"{where}: a defect of the server: {type(error).__name__}: {error}")
            channel.close()
        finally:
            with self._threads_lock:
                self._threads.pop(threading.current_thread(), None)

    def _known(self) -> None:
        """The client of this thread has proved the token: it is no stranger any more."""
        with self._threads_lock:
            self._threads[threading.current_thread()] = None

    def _room(self) -> bool:
        """Whether a connection has ended, after a moment."""
        deadline = time.monotonic() + MOMENT
        while time.monotonic() < deadline:
            with self._threads_lock:
                if len(self._threads) < CONNECTIONS:
                    return True
            time.sleep(0.005)
        return False


def serve_stdio(device: Device, terms: Terms, log: Callable[[str], None] = _quiet) -> None:
    """Serve one client over stdin and stdout until it closes them. What else is printed goes to stderr.

    Raises UsageError ND631 where either is a terminal.
    """
    if os.isatty(0) or os.isatty(1):
        raise UsageError(
            "ND631", "stdin or stdout is a terminal", help="--stdio is for a program that speaks to ndeploy"
        )
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    desk = Desk(device, terms, LeaseBook(0), log=log)
    try:
        serve(Channel(0, answers, protocol.SERVER, close=lambda: os.close(answers), stop=desk.stop), desk, "stdio")
    finally:
        desk.stop.set()
        device.close()
