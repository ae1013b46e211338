"""What a network's own weights decide, asked for by the builder of programs round after round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.ir.lowered import RealPopulation
from ndeploy.quantizer import Choices, Request

from . import _given_graded
from ._given import Given
from ._given_units import Misfit, alone, given_units


@dataclass
class Taking:
    """Finds every population's given units once for each worth of its messages, and remembers what it found.

    others: whether layers that cannot be taken over are quantised as others are, not refused. given, misfits: by
    population or port ("population.port").
    """

    request: Request
    others: bool
    given: dict[str, Given] = field(default_factory=dict)
    misfits: dict[str, Misfit] = field(default_factory=dict)
    _known: dict[Any, Given | Misfit | None] = field(default_factory=dict)
    _ports: dict[str, Misfit] | None = None

    def units(self, population: RealPopulation, units: Mapping[str, Any]) -> Given | None:
        """What a population of neurons is given; None where its unit is to be chosen.

        Raises RefusedError ND310, ND311 where layers that do not fit are refused.
        """
        into = self.request.lowered.into(population.name)
        key = (population.name, tuple(np.asarray(units[p.source]).tobytes() for p in into))
        if key not in self._known:
            self._known[key] = given_units(self.request, population, units)
        found = self._known[key]
        if isinstance(found, Misfit):
            self._refuse({population.name: found})
            return None
        if found is not None:
            self.given[population.name] = found
        return found

    def messages(self, choices: Choices) -> Choices:
        """The choices for graded neurons with messages that leave given weights whole. Raises as `units`."""
        if self._ports is None:
            self._ports = _given_graded.misfits(self.request)
        self._refuse(self._ports)
        return _given_graded.even_messages(self.request, choices, self._ports)

    def ports(self, choices: Choices) -> Choices:
        """The choices with the weights and units of graded neurons that are given. Raises as `units`."""
        made, given, refused = _given_graded.with_ports(self.request, choices, self._ports or {})
        self._refuse(refused)
        self.given |= given
        return made

    def _refuse(self, found: Mapping[str, Misfit]) -> None:
        if found and not self.others:
            raise refusal(self.request, next(iter(found.values())))
        self.misfits |= found

    def of(self, projection: str) -> Given | None:
        """What a projection's weights were taken over as."""
        return next((given for given in self.given.values() if projection in given.mantissas), None)


def refusal(request: Request, misfit: Misfit) -> RefusedError:
    """The error for a layer that cannot be taken over; says how many others there are."""
    trained = [p for p in request.lowered.projections if not p.unit and p.integer is None]
    off = sum(alone(request, p) is not None for p in trained)
    also = f"; of {len(trained)} layers {off} lie on no grid" if off > 1 else ""
    return RefusedError(
        misfit.code,
        f"{misfit.why}{also}",
        help="--set others=uniform quantises such layers at --bits and takes over the rest; --method uniform quantises "
        "all",
    )
