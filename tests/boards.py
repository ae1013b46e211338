"""Boards on 127.0.0.1 for tests: short time limits, and what must be left when they are closed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ndeploy import plugins
from ndeploy.board.desk import Terms
from ndeploy.board.device import Device
from ndeploy.board.link import Tcp, address
from ndeploy.board.meter import ModelMeter
from ndeploy.board.runner import BoardRunner, Patience
from ndeploy.board.server import Server
from ndeploy.board.software import SoftwareBoard
from ndeploy.fixed import IntArray
from ndeploy.ir.result import RunResult
from ndeploy.runners import BUILT_IN, RunnerOptions

TOKEN = "a token of the tests"
TERMS = Terms(idle=5.0, longest=30.0, run=0.5, waiting=2, beat=0.05)
SHARED = "/dev/shm/"
PATIENCE = Patience(wait=10.0, request=5.0, retries=3, pause=0.01)


def oracle_board() -> SoftwareBoard:
    """The oracle compiles nothing, so that it is the fastest on programs of ten neurons."""
    return SoftwareBoard(BUILT_IN["oracle"], "oracle")


def metered_board() -> SoftwareBoard:
    """One with a meter, which is a model."""
    return SoftwareBoard(BUILT_IN["oracle"], "oracle", meter=ModelMeter(plugins.target("loihi2")))


@contextlib.contextmanager
def lent(device: Device | None = None, terms: Terms = TERMS) -> Iterator[Server]:
    with Server(device or oracle_board(), "127.0.0.1", 0, TOKEN, terms) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join()


def where(server: Server) -> Tcp:
    found = address(server.url)
    assert isinstance(found, Tcp)
    return found


def raw(server: Server) -> socket.socket:
    to = where(server)
    return socket.create_connection((to.host, to.port), 2.0)


def closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the server ends the connection in time, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def client(url: str, patience: Patience = PATIENCE, token: str = TOKEN) -> BoardRunner:
    return BoardRunner(url, token, patience)


def ask(runner: BoardRunner, program: object, messages: Mapping[str, IntArray], **options: object) -> RunResult:
    trace = bool(options.pop("trace", False))
    return runner(program, messages, trace=trace, options=RunnerOptions(**options))  # type: ignore[arg-type]


def same(found: RunResult, wanted: RunResult) -> bool:
    """Outputs, predictions and every count."""
    pairs = [(found.outputs, wanted.outputs)]
    for kind in ("synaptic_ops", "spikes", "neuron_updates", "embedded_ops"):
        pairs.append((getattr(found.counts, kind), getattr(wanted.counts, kind)))
    equal = all(a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in pairs)
    return equal and np.array_equal(found.predictions, wanted.predictions)  # type: ignore[arg-type]


def left_open() -> dict[str, int]:
    """Threads, descriptors, shared memory and children of this process; other processes have theirs beside it."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return {
        "threads": sum(
            t.name in ("board client", "board device", "board keeper", "cable") for t in threading.enumerate()
        ),
        "sockets": sum(_is_socket(entry) for entry in Path("/proc/self/fd").iterdir()),
        "memory": len(
            {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if SHARED in line}
        ),
        "children": len(children.read_text().split()) if children.exists() else 0,
    }


def _is_socket(entry: Path) -> bool:
    try:
        return os.readlink(entry).startswith(("socket:", "pipe:"))
    except OSError:
        return False
