"""Cores that no placement can go below.

A placement parts every unit over cores, so an axon's synapses may be written in several places. What follows counts the
least over all ways to part them, never what one way takes.

Synaptic memory: an axon's synapses on a core stand in blocks of at most as many as the format allows, and of no more
than neurons a core can hold; a block of j synapses takes r(j) bits with header and rounding, so n synapses take at
least n min r(j) / j, and at least what one axon with all of them would. In-axons: a core that holds neurons of a unit
takes one for each source neuron that reaches them. Where every source reaches every neuron (dense synapses), each core
takes all of them, and the unit lies on at least as many cores as its neurons ask for.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ndeploy.pack import SynapseFormat
from ndeploy.place.links import Link, Listed, SharedConv
from ndeploy.place.split import UNLIMITED, Capacity
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Unit, Units


def lower_bound(units: Units, capacity: Capacity) -> tuple[int, str]:
    """Cores that no placement can go below, and the resource that says so.

    Per resource the least any placement takes in all, divided by what a core holds: neurons, synaptic memory, in-axons,
    distinct configurations, state memory.
    """
    fewest = {unit.name: cores_of(unit, capacity) for unit in units.units}
    totals = {
        "neurons": (sum(unit.size for unit in units.units), capacity.neurons),
        "synaptic memory": (
            sum(least_memory(link, capacity.neurons, fewest[unit.name]) for unit in units.units for link in unit.links),
            capacity.memory,
        ),
        "in-axons": (
            sum(least_axons(link, fewest[unit.name]) for unit in units.units for link in unit.links),
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
    bounds = {name: -(-total // limit) if limit < UNLIMITED else 0 for name, (total, limit) in totals.items()}
    by = max(bounds, key=lambda name: bounds[name])
    return bounds[by], by


def cores_of(unit: Unit, capacity: Capacity) -> int:
    """Cores that a unit alone lies on at least: no core holds more of its neurons than its neurons, state, thresholds
    and memory allow."""
    fewest = [
        -(-unit.size // capacity.neurons),
        -(-unit.size * unit.words * WORD_BYTES // capacity.state),
        -(-len(unit.thresholds) // capacity.thresholds),
        -(-len(unit.configurations) // capacity.configurations),
        -(-sum(least_memory(link, capacity.neurons, 1) for link in unit.links) // capacity.memory),
    ]
    return max(1, *fewest)


def least_axons(link: Link, cores: int) -> int:
    """In-axons that the link takes on at least so many cores."""
    return link.axons(link.whole) * (cores if link.uniform and not link.exclusive else 1)


def least_memory(link: Link, neurons: int, cores: int) -> int:
    """Bits of synaptic memory that the link takes on at least so many cores of so many neurons at most."""
    if isinstance(link, SharedConv):
        return link.least_bits()
    n, times = link.axon_sizes(link.whole)
    once = UNLIMITED if isinstance(link, Listed) else neurons  # a list may hold several synapses of one pair
    each, least = _efficiency(link.format, once), link.format.least_bits(n)
    parted = [-(-int(size) * each.numerator // each.denominator) for size in n]
    if link.uniform:  # every core holds a part of every axon: at least one block of at least one synapse
        smallest = int(link.format.axon_bits(np.ones(1, dtype=np.int64))[0])
        parted = [max(bits, cores * smallest if size else 0) for bits, size in zip(parted, n, strict=True)]
    return int(sum(max(a, int(b)) * int(t) for a, b, t in zip(parted, least, times, strict=True)))


def _efficiency(form: SynapseFormat, neurons: int) -> Fraction:
    """Bits a synapse takes at least, in the best block of those that a core's neurons can fill."""
    largest = min(form.block or MOST, neurons, MOST)
    j = np.arange(1, max(largest, 1) + 1, dtype=np.int64)
    bits = form.axon_bits(j)
    best = min(range(len(j)), key=lambda i: Fraction(int(bits[i]), int(j[i])))
    found = Fraction(int(bits[best]), int(j[best]))
    return found if largest == min(form.block or neurons, neurons) else Fraction(form.synapse)


MOST = 4096
"""Sizes of blocks that are looked at; where larger ones exist only the synapses' own bits count."""
