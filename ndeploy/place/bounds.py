"""Cores that no placement can go below."""

from __future__ import annotations

from ndeploy.place.split import Capacity
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Units


def lower_bound(units: Units, capacity: Capacity) -> tuple[int, str]:
    """Cores that no placement can go below, and the resource that says so.

    Per resource the least any placement takes in all, divided by what a core holds: neurons; synaptic memory as packed,
    with no axon's synapses parted; one in-axon for each source neuron of each link; distinct configurations.
    """
    totals = {
        "neurons": (sum(unit.size for unit in units.units), capacity.neurons),
        "synaptic memory": (sum(link.least_bits() for unit in units.units for link in unit.links), capacity.memory),
        "in-axons": (
            sum(link.axons(link.whole) for unit in units.units for link in unit.links),
            capacity.in_axons,
        ),
        "neuron configurations": (
            len({c for unit in units.units for c in unit.configurations}),
            capacity.configurations,
        ),
        "threshold configurations": (
            len({c for unit in units.units for c in unit.thresholds}),
            capacity.thresholds,
        ),
        "state memory": (sum(unit.size * unit.words * WORD_BYTES for unit in units.units), capacity.state),
    }
    bounds = {name: -(-total // limit) for name, (total, limit) in totals.items()}
    by = max(bounds, key=lambda name: bounds[name])
    return bounds[by], by
