"""The energy meter of a board that computes in software: a model, and called one in everything that it tells.

No chip draws anything there. What the meter shows is the nominal estimate of `ndeploy energy` for the events that the
runner counted, on a chip that the board stands for: enough to try out everything that reads a meter, and nothing that
says how good the estimate is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndeploy.errors import UsageError

if TYPE_CHECKING:
    from ndeploy.ir.program import Program
    from ndeploy.ir.result import Activity
    from ndeploy.place import Placed
    from ndeploy.target import Target

DEFAULT = "loihi2"
"""The chip that a board stands for which is asked to lie about energy and told of no chip."""


class ModelMeter:
    """Dynamic energy of a chip, J, and wall-clock seconds of streams, both since the meter was made.

    target: the chip. Its own prices, nominal, and the placement of `ndeploy.place.place` are used.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._placed: Placed | None = None
        self._joules = self._seconds = 0.0

    def describe(self) -> dict[str, Any]:
        """For the welcome: "source", "scope" and "chip"."""
        return {
            "source": f"a model of {self._target.name} (the nominal estimate of ndeploy energy), no measurement",
            "scope": "dynamic",
            "chip": self._target.name,
        }

    def load(self, program: Program) -> None:
        """Place a program. Raises what `place` raises where it does not fit the chip."""
        from ndeploy.place import place

        self._placed = place(program, self._target)

    def count(self, program: Program, activity: Activity | None, seconds: float) -> None:
        """Go on by what the samples of a stream cost. activity: of all of them; seconds: that they took.

        Raises UsageError ND634 where the runner does not tell its activity, or the chip has no price for an event.
        """
        from ndeploy.energy.estimate import estimate

        if activity is None or self._placed is None:
            raise _no_model("the runner does not tell which neurons sent what")
        report = estimate(program, self._placed, self._target, activity, None, allow_unpriced=True)
        if report.energy is None:
            raise _no_model(f"{self._target.name} has no price for what happened: {'; '.join(report.unpriced[:3])}")
        self._joules += report.energy.nominal * activity.samples
        self._seconds += seconds

    def read(self) -> dict[str, float]:
        """As the protocol's `power`."""
        return {"joules": self._joules, "seconds": self._seconds}


def _no_model(why: str) -> UsageError:
    return UsageError(
        "ND634",
        f"the board's meter, which is a model, cannot follow: {why}",
        help="start the board without --meter, with --runner sim or oracle, or with a target that has prices",
    )
