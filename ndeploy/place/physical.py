"""Which core of the system each packed core is, so that packets have short ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.place.flows import HOST
from ndeploy.place.packing import Packed
from ndeploy.target import Target


def arranged(program: Program, target: Target, packed: Packed, activity: Activity) -> Packed:
    """The packing with its cores numbered as on the system (`ndeploy.target.Mesh`).

    activity: what neurons send. Without a mesh, and for a single core,
    the numbers stay from 0. Raises UsageError ND410 where the target's mesh cannot be.
    """
    if target.mesh is None or packed.used < 2:
        return packed
    from ndeploy.place.arrange import arrange
    from ndeploy.place.traffic import flows

    found = flows(program, target, packed.pieces, activity)
    of_slice = np.array([*packed.cores, HOST], dtype=np.int64)  # HOST is -1: the last
    packets = found.packets.sum(axis=1)
    physical = arrange(of_slice[found.source], of_slice[found.target], packets, packed.used, target)
    return replace(packed, cores=tuple(int(physical[core]) for core in packed.cores))
