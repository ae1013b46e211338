"""Boxes go to cores: out-axons are counted, boxes with too many are cut again, cores are filled first fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.place.links import Box, neurons, volume
from ndeploy.place.split import UNLIMITED, Capacity, Need, need, split
from ndeploy.place.state import Configuration
from ndeploy.place.units import Unit, Units

ROUNDS = 32
"""How often boxes are cut again for out-axons before the placement is given up."""


@dataclass(frozen=True)
class Piece:
    """A box of a unit with what it takes; out_axons: for each of its neurons the boxes that hold a target of it."""

    unit: str
    box: Box
    need: Need
    out_axons: int


def _owners(unit: Unit, boxes: tuple[Box, ...]) -> IntArray:
    """Per neuron the box it is in."""
    owner = np.full(unit.size, -1, dtype=np.int64)
    for i, box in enumerate(boxes):
        owner[neurons(box, unit.grid)] = i
    return owner


def out_axons(units: Units, boxes: Mapping[str, tuple[Box, ...]]) -> tuple[dict[str, IntArray], dict[str, int]]:
    """Out-axons of every box, by unit, and those of the hosted populations in all."""
    by_name = {unit.name: unit for unit in units.units}
    count = {name: np.zeros(len(boxes[name]), dtype=np.int64) for name in by_name}
    hosted = dict.fromkeys(units.hosted, 0)
    owner: dict[str, IntArray] = {}
    sizes = {name: np.array([volume(box) for box in boxes[name]], dtype=np.int64) for name in by_name}
    for name, times in units.to_processor.items():
        if name in hosted:
            hosted[name] += times * units.hosted[name]
        else:
            count[name] += times * sizes[name]
    for unit in units.units:
        for link in unit.links:
            source = by_name.get(link.source)
            if link.exclusive or link.uniform:
                times = 1 if link.exclusive else len(boxes[unit.name])
                if source is None:
                    hosted[link.source] += times * link.sources
                else:
                    count[source.name] += times * sizes[source.name]
                continue
            if source is not None and source.name not in owner:
                owner[source.name] = _owners(source, boxes[source.name])
            for box in boxes[unit.name]:
                reached = link.reach(box)
                if source is None:
                    hosted[link.source] += int(np.count_nonzero(reached))
                else:
                    held = np.bincount(owner[source.name][reached], minlength=len(boxes[source.name]))
                    count[source.name] += held
    return count, hosted


def cut_all(
    units: Units, capacity: Capacity, cut: Callable[[Unit, Capacity], tuple[Box, ...]] = split
) -> tuple[tuple[Piece, ...], dict[str, int]]:
    """Every unit in boxes that fit a core, out-axons included, and the axons that leave the host. cut: into boxes that
    fit but for out-axons.

    Raises RefusedError ND402 where a neuron alone is too much for a core.
    """
    most = {unit.name: capacity.neurons for unit in units.units}
    boxes = {unit.name: cut(unit, capacity) for unit in units.units}
    for _ in range(ROUNDS):
        count, hosted = out_axons(units, boxes)
        crowded = [unit for unit in units.units if int(count[unit.name].max()) > capacity.out_axons]
        if not crowded:
            pieces = tuple(
                Piece(unit.name, box, need(unit, box), int(axons))
                for unit in units.units
                for box, axons in zip(boxes[unit.name], count[unit.name], strict=True)
            )
            return pieces, hosted
        for unit in crowded:
            worst = int(np.argmax(count[unit.name]))
            size, axons = volume(boxes[unit.name][worst]), int(count[unit.name][worst])
            if size == 1:
                at = tuple(start for start, _ in boxes[unit.name][worst])
                raise RefusedError(
                    "ND402",
                    f"{unit.subject}: neuron {at} alone takes {axons} out-axons; a core has {capacity.out_axons}",
                    help="its targets lie on too many cores: make the layers it feeds smaller",
                )
            most[unit.name] = max(1, min(most[unit.name], size * capacity.out_axons // axons, size - 1))
            boxes[unit.name] = cut(unit, replace(capacity, neurons=most[unit.name]))
    raise RefusedError(
        "ND402",
        f"{crowded[0].subject}: out-axons do not settle within {capacity.out_axons} a core",
        help="layers that feed each other are both too large for the target's routing: make one of them smaller",
    )


def first_fit(pieces: tuple[Piece, ...], capacity: Capacity) -> tuple[int, ...]:
    """The core of each piece: the largest pieces first, each on the first core with room for it."""
    limits = np.array(
        [capacity.neurons, capacity.memory, capacity.in_axons, capacity.out_axons, capacity.state], dtype=np.int64
    )
    needs = np.array(
        [[p.need.neurons, p.need.memory, p.need.in_axons, p.out_axons, p.need.state] for p in pieces], dtype=np.int64
    ).reshape(-1, len(limits))
    finite = limits < UNLIMITED
    share = (needs[:, finite] / limits[finite]).max(axis=1) if finite.any() else np.zeros(len(pieces))
    room = np.tile(limits, (len(pieces), 1))  # room[c]: what core c still holds
    configurations: list[set[Configuration]] = []
    thresholds: list[set[Configuration]] = []
    cores = [0] * len(pieces)
    for i in sorted(range(len(pieces)), key=lambda i: (-share[i], i)):
        wanted = pieces[i].need
        used = len(configurations)
        for core in (int(c) for c in np.flatnonzero((room[:used] >= needs[i]).all(axis=1))):
            if (
                len(configurations[core] | wanted.configurations) <= capacity.configurations
                and len(thresholds[core] | wanted.thresholds) <= capacity.thresholds
            ):
                break
        else:
            core = used
            configurations.append(set())
            thresholds.append(set())
        room[core] -= needs[i]
        configurations[core] |= wanted.configurations
        thresholds[core] |= wanted.thresholds
        cores[i] = core
    return tuple(cores)
