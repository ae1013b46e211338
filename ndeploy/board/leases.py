"""Who has the board, and who waits for it: first come, first served, one at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class QueueFullError(Exception):
    """No more clients may wait."""


class Ticket:
    """A place in the queue; the first place is the board. granted: when it was, None while waiting."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.granted: float | None = None


class LeaseBook:
    """The queue. waiting: how many may wait beside the one who has the board. Any thread may call."""

    def __init__(self, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = 1 + waiting
        self._clock = clock
        self._queue: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self.granted = 0

    def enter(self, owner: str) -> Ticket:
        """A place at the end. Raises QueueFullError."""
        with self._changed:
            if len(self._queue) >= self._limit:
                raise QueueFullError
            ticket = Ticket(owner)
            self._queue.append(ticket)
            self._grant()
            return ticket

    def wait(self, ticket: Ticket, seconds: float) -> bool:
        """Whether the ticket has the board, after at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: ticket.granted is not None, seconds)
            return ticket.granted is not None

    def leave(self, ticket: Ticket) -> None:
        """Give back the board, or the place in the queue. May be called twice."""
        with self._changed:
            if ticket in self._queue:
                self._queue.remove(ticket)
                self._grant()

    def overdue(self, ticket: Ticket, longest: float) -> bool:
        """Whether it has had the board for longer than `longest` seconds while others wait."""
        with self._changed:
            waiting = len(self._queue) > 1
            return ticket.granted is not None and waiting and self._clock() - ticket.granted > longest

    def position(self, ticket: Ticket) -> int:
        """How many are before it."""
        with self._changed:
            return self._queue.index(ticket) if ticket in self._queue else 0

    def snapshot(self) -> tuple[str | None, int]:
        """(who has the board, how many wait)."""
        with self._changed:
            return (self._queue[0].owner if self._queue else None), max(0, len(self._queue) - 1)

    def _grant(self) -> None:
        if self._queue and self._queue[0].granted is None:
            self._queue[0].granted = self._clock()
            self.granted += 1
            self._changed.notify_all()
