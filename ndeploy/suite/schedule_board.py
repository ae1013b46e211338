"""One board of a rack as the schedule knows it: in service, under suspicion, in quarantine, or given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ndeploy.suite.lanes import Lane
from ndeploy.suite.verdict import Quarantined

PAUSES = (2.0, 4.0, 8.0, 16.0)
"""Seconds after which a board in quarantine is looked at again."""
LONGEST = 64.0
"""Seconds: pauses go on doubling up to this, while other boards work."""
PASSES = 2
"""Canaries in a row that end a quarantine."""


class Board:
    """pauses: as `PAUSES`. faults: what cases failed of that the canary did not confirm, by case."""

    def __init__(self, lane: Lane, pauses: Sequence[float], clock: Callable[[], float]) -> None:
        self.lane = lane
        self.faults: dict[str, str] = {}
        self._pauses, self._clock = pauses, clock
        self._state = "service"
        self._looks = self._passed = 0
        self._due = 0.0
        self._history: list[Quarantined] = []

    @property
    def name(self) -> str:
        return self.lane.name

    @property
    def serves(self) -> bool:
        """It gets cases."""
        return self._state == "service"

    @property
    def lost(self) -> bool:
        """It will get none any more."""
        return self._state == "lost"

    @property
    def due(self) -> float | None:
        """When to look at it again, None while it is not in quarantine."""
        return self._due if self._state == "quarantine" else None

    @property
    def patient(self) -> bool:
        """It may still come back though no other board works meanwhile."""
        return self._state in ("service", "suspected") or (
            self._state == "quarantine" and self._looks < len(self._pauses)
        )

    @property
    def quarantines(self) -> tuple[Quarantined, ...]:
        """So far, in order."""
        return tuple(self._history)

    @property
    def fault(self) -> str:
        """Of the last quarantine, "" before the first."""
        return self._history[-1].fault if self._history else ""

    def suspect(self) -> None:
        """Its canary runs: no cases meanwhile."""
        self._state = "suspected"

    def clear(self) -> None:
        """The canary found nothing."""
        self._state = "service"

    def isolate(self, fault: str, for_good: bool = False) -> None:
        """No more cases. for_good: waiting mends nothing. Neither does it where all pauses have passed once before."""
        self._history.append(Quarantined(self.name, fault))
        self.faults.clear()
        self._passed = 0
        self._state = "lost" if for_good or self._looks >= max(1, len(self._pauses)) else "quarantine"
        self._wait()

    def looked(self, well: bool) -> bool:
        """What the canary said of a board in quarantine; whether that ended it."""
        if not well:
            self._passed = 0
            self._looks += 1
            self._wait()
            return False
        self._passed += 1
        if self._passed < PASSES:
            self._due = self._clock()
            return False
        self._looks += 1  # each quarantine begins with a longer pause than the last
        last = self._history[-1]
        self._history[-1] = Quarantined(last.board, last.fault, returned=True)
        self._state = "service"
        return True

    def _wait(self) -> None:
        pause = 0.0
        if self._pauses:
            known = self._looks < len(self._pauses)
            pause = (
                self._pauses[self._looks] if known else 2.0 ** (self._looks - len(self._pauses) + 1) * self._pauses[-1]
            )
        self._due = self._clock() + min(pause, LONGEST)
