"""Pieces that talk to each other share cores: fewer packets on the mesh, by measured rates.

Pieces are moved to other cores, and exchanged between cores, one after another, as long as that takes packets off the
mesh and every core still holds what it has; then cores are arranged (`ndeploy.place.arrange`). The start with the least
cost after that wins: the packing with the fewest cores is one of them, so the result is never worse than it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.place.fill import Needs, Room
from ndeploy.place.flows import HOST
from ndeploy.place.packing import Packed, filled, ways
from ndeploy.place.split import Capacity
from ndeploy.place.units import Units
from ndeploy.target import Target

SPARE = 0.05
"""Cores above those of the fewest that less traffic may take."""
ROUNDS = 8
"""Sweeps over all pieces at most."""
STARTS = 4
"""Packings to begin with, at most."""
CORES, PARTNERS = 4, 12
"""Cores that a piece is tried on, and pieces there that an exchange is tried with, at most."""
EFFORT = 6_000
"""Boxes whose needs are worked out before no further start is looked for."""

Talk = list[list[tuple[int, int]]]
"""By piece, (other piece, packets either way)."""


def less_traffic(
    program: Program, target: Target, units: Units, capacity: Capacity, packed: Packed, activity: Activity
) -> Packed:
    """The packing with the least packets between cores that was found; at most `SPARE` more cores."""
    found: list[tuple[int, int, int, Packed]] = []
    most = packed.used + int(packed.used * SPARE)
    for number, start in enumerate(_starts(units, capacity, packed, most)):
        moved = replace(start, cores=gathered(start, capacity, talk_of(program, target, start, activity)))
        sent = between(talk_of(program, target, moved, activity), moved.cores)
        found.append((sent, moved.used, number, moved))
    return min(found, key=lambda entry: entry[:3])[3]


def _starts(units: Units, capacity: Capacity, packed: Packed, most: int) -> Iterator[Packed]:
    """The packing itself, then others on as few cores or a little more, those with other numbers of boxes: ways in
    program order first, for they keep layers beside those they feed."""
    yield packed
    seen = {len(packed.pieces)}
    needs = Needs(capacity)
    for way in sorted(ways(units, packed.pieces), key=lambda way: way.heavy):
        if len(seen) >= STARTS or needs.effort > EFFORT:
            return
        found = filled(units, capacity, way, needs, packed, most)
        if found is not None and len(found.pieces) not in seen:
            seen.add(len(found.pieces))
            yield found


def talk_of(program: Program, target: Target, packed: Packed, activity: Activity) -> Talk:
    """Packets between pieces; those of the host and the processor decide nothing about sharing cores."""
    from ndeploy.place.traffic import flows

    found = flows(program, target, packed.pieces, activity)
    packets = found.packets.sum(axis=1)
    talk: list[dict[int, int]] = [{} for _ in packed.pieces]
    for a, b, n in zip(found.source.tolist(), found.target.tolist(), packets.tolist(), strict=True):
        if HOST in (a, b) or a == b or not n:
            continue
        talk[a][b] = talk[a].get(b, 0) + n
        talk[b][a] = talk[b].get(a, 0) + n
    return [sorted(others.items()) for others in talk]


def between(talk: Talk, cores: tuple[int, ...]) -> int:
    """Packets from core to core."""
    return sum(n for a, others in enumerate(talk) for b, n in others if a < b and cores[a] != cores[b])


def gathered(packed: Packed, capacity: Capacity, talk: Talk) -> tuple[int, ...]:
    """The core of each piece after moves and exchanges that each take packets off the mesh; cores from 0, all used."""
    at = list(packed.cores)
    on: dict[int, set[int]] = {core: set() for core in at}
    for piece, core in enumerate(at):
        on[core].add(piece)

    def room_on(core: int, without: int | None = None) -> Room:
        room = Room(capacity)
        for other in sorted(on[core]):
            if other != without:
                room.take(packed.pieces[other].need, packed.pieces[other].out_axons)
        return room

    def holds(room: Room, piece: int) -> bool:
        return room.fits(packed.pieces[piece].need, packed.pieces[piece].out_axons)

    def pull(piece: int) -> dict[int, int]:
        """Packets to and from the pieces of each core."""
        found: dict[int, int] = {}
        for other, n in talk[piece]:
            found[at[other]] = found.get(at[other], 0) + n
        return found

    def move(piece: int, core: int) -> None:
        on[at[piece]].discard(piece)
        at[piece] = core
        on[core].add(piece)

    def improved(piece: int) -> bool:
        """Move the piece to where it has more to do, or exchange it with a piece from there; False if nothing helps."""
        towards, home = pull(piece), at[piece]
        here = towards.pop(home, 0)
        mutual = dict(talk[piece])
        wanted = sorted((core for core in towards if towards[core] > here), key=lambda c: (-towards[c], c))
        for core in wanted[:CORES]:
            if holds(room_on(core), piece):
                move(piece, core)
                return True
            for other in sorted(on[core])[:PARTNERS]:
                of_other = pull(other)
                gain = towards[core] - here + of_other.get(home, 0) - of_other.get(core, 0) - 2 * mutual.get(other, 0)
                if gain > 0 and holds(room_on(core, other), piece) and holds(room_on(home, piece), other):
                    move(piece, core)
                    move(other, home)
                    return True
        return False

    for _ in range(ROUNDS):
        if not any([improved(piece) for piece in range(len(at))]):
            break
    number = {core: n for n, core in enumerate(dict.fromkeys(at))}
    return tuple(number[core] for core in at)
