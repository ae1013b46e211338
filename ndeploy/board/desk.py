"""What all connections of a server share: the device, the queue, the limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ndeploy.board import protocol
from ndeploy.board.device import Device
from ndeploy.board.leases import LeaseBook


@dataclass(frozen=True)
class Terms:
    """Under which a board is lent. Seconds, bytes.

    idle: a connection that says nothing for so long is closed; longest: how long one client may keep the board while
    others wait; run: one request of the device; wait: in the queue; waiting: clients in the queue; beat: between two
    signs of life while a request is worked on.
    """

    idle: float = 60.0
    longest: float = 3600.0
    run: float = 600.0
    wait: float = 3600.0
    waiting: int = 8
    beat: float = 2.0
    artifact_bytes: int = protocol.ARTIFACT_BYTES
    stream_bytes: int = protocol.STREAM_BYTES

    def announced(self) -> dict[str, Any]:
        """What a client must know of them."""
        return {
            "beat": self.beat,
            "idle": self.idle,
            "run": self.run,
            "artifact_bytes": self.artifact_bytes,
            "stream_bytes": self.stream_bytes,
        }


def _quiet(line: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Desk:
    """token: "" where the connection itself is private (a subprocess). log: called with lines about connections."""

    device: Device
    terms: Terms
    leases: LeaseBook
    token: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    log: Callable[[str], None] = _quiet
