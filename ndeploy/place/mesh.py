"""Where cores are: routers of a chip's mesh, chips of a board.

Chips stand in a grid, row by row, and their meshes join into one: packets to another chip leave over the edge of the
mesh that faces it, go on through the meshes of the chips between and enter over the opposite edge. Source: Loihi's
off-chip interfaces "hierarchically extend the mesh in four planar directions to other chips" (Davies et al. 2018,
abstract and overview as quoted by gwern.net). Loihi 2 adds links in a third dimension, whose wiring is not public: they
are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.target import Limit, Target

PORT = (0, 0)
"""Router of each chip at which messages of the host and of the embedded processors enter and leave the mesh. Assumed:
nobody has published where they are."""


@dataclass(frozen=True)
class Board:
    """A target's mesh as integers; chips_wide: chips in a row of the board, None for a single row."""

    width: int
    height: int
    cores_per_router: int
    cores_per_chip: int
    chips_wide: int | None


@dataclass(frozen=True, eq=False)
class Positions:
    """Routers, arrays of one shape. chip: its number; x (eastward) and y (southward): on the chip's mesh; column, row:
    on the mesh of the whole board."""

    chip: IntArray
    x: IntArray
    y: IntArray
    column: IntArray
    row: IntArray


def board_of(target: Target) -> Board | None:
    """The target's mesh, None where it has none.

    Raises UsageError ND410 where a number of it is missing or below 1, or where it has no room for the chip's cores.
    """
    mesh = target.mesh
    if mesh is None:
        return None

    def positive(name: str, limit: Limit) -> int:
        if limit.value is None or limit.value < 1:
            raise _refused(target, f"mesh.{name}", f"{limit.value} where a number >= 1 is needed")
        return limit.value

    width, height = positive("width", mesh.width), positive("height", mesh.height)
    each = positive("cores_per_router", mesh.cores_per_router)
    room = width * height * each
    cores = room if target.cores_per_chip.value is None else target.cores_per_chip.value
    if not 1 <= cores <= room:
        raise _refused(target, "mesh", f"{width} x {height} routers of {each} cores hold {room}, the chip has {cores}")
    wide = None if mesh.chips_wide.value is None else positive("chips_wide", mesh.chips_wide)
    return Board(width, height, each, cores, wide)


def _refused(target: Target, path: str, why: str) -> UsageError:
    return UsageError(
        "ND410",
        f"target '{target.name}', {path}: {why}",
        help="mend the target's file; docs/targets.md describes every field",
    )


def _joined(board: Board, chip: IntArray, x: IntArray, y: IntArray) -> Positions:
    row, column = (np.zeros_like(chip), chip) if board.chips_wide is None else np.divmod(chip, board.chips_wide)
    return Positions(chip, x, y, column * board.width + x, row * board.height + y)


def positions(board: Board, cores: IntArray) -> Positions:
    """Routers of physical cores, numbered as `ndeploy.target.Mesh` says."""
    chip, core = np.divmod(np.asarray(cores, dtype=np.int64), board.cores_per_chip)
    y, x = np.divmod(core // board.cores_per_router, board.width)
    return _joined(board, chip, x, y)


def ports(board: Board, chip: IntArray) -> Positions:
    """Routers at which messages of the host enter and leave the given chips."""
    return _joined(board, chip, np.full_like(chip, PORT[0]), np.full_like(chip, PORT[1]))


def distances(board: Board, a: Positions, b: Positions) -> tuple[IntArray, IntArray, IntArray]:
    """Hops east-west, hops north-south and chip crossings from a to b along x, then along y (broadcast).

    A step from a router to one of the same chip is a hop; a step over a chip's edge is a crossing and no hop.
    """
    crossings_x = np.abs(a.column // board.width - b.column // board.width)
    crossings_y = np.abs(a.row // board.height - b.row // board.height)
    east_west = np.abs(a.column - b.column) - crossings_x
    north_south = np.abs(a.row - b.row) - crossings_y
    return east_west, north_south, crossings_x + crossings_y
