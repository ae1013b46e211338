"""What a server puts on the wire: a board that is asked and answers, one thing at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ndeploy.board.protocol import Frame

OPERATIONS = ("program", "readback", "stream", "read")
"""What a client with a lease may ask of a device; docs/board.md gives their fields."""


class Device(Protocol):
    """ask may be called by one thread at a time; abort, from any thread, makes it return or raise soon."""

    def describe(self) -> dict[str, Any]:
        """For the welcome: "runner", "features" (of "readback", "counters", "digests", "power"), "watts" or None, and
        "meter", its "source" and "scope", or None."""
        ...

    def ask(self, frame: Frame, limit: float) -> Frame:
        """The answer. limit: seconds. Raises AnswerError ("model", "limit" or "fault")."""
        ...

    def abort(self) -> None:
        """End what is being asked, whatever state that leaves; the device starts afresh when it is next asked."""
        ...

    def reset(self) -> None:
        """Forget the program and every result: the next client must not see them."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


def features(described: Any) -> Sequence[str]:
    """The features of a welcome, those of unknown kind included; () where they are not listed as texts."""
    listed = described.get("features") if isinstance(described, dict) else None
    return tuple(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()
