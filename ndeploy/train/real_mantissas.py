"""The real numbers that a program's mantissas round: where fine-tuning starts."""

from __future__ import annotations

import numpy as np

from ndeploy.ir.lowered import FloatArray, Lowered, RealProjection
from ndeploy.ir.program import Program, Projection
from ndeploy.passes.along import by_row, columns


def real_mantissas(lowered: Lowered, program: Program) -> dict[str, FloatArray]:
    """Real-valued mantissas by projection, in the layout of its weight, for every projection that is trained.

    lowered: what the program was quantised from. A mantissa is the real weight times what one unit of the source's
    message is worth, in units of the target's input: `scale` of the program's populations and projections. One that
    was rounded up where its share of a sum asked for it may lie further than half a unit from the program's own.
    Projections whose weights were integers already, or whose layout is another than that of the network, are left out.
    """
    real = {p.name: p for p in lowered.projections if not p.unit and p.integer is None}
    found = {}
    for projection in program.projections:
        p = real.get(projection.name)
        if p is None or projection.unit:
            continue
        value = _real(p, projection, program)
        if value.shape == projection.synapses.weight.shape and np.isfinite(value).all():
            found[projection.name] = value
    return found


def _real(p: RealProjection, projection: Projection, program: Program) -> FloatArray:
    source, target = program.population(projection.source), program.population(projection.target)
    per_message = columns(p.synapses, source.scale, source.shape)
    per_unit = by_row(p.synapses, np.asarray(projection.scale, dtype=np.float64), target.shape)
    return np.asarray(p.synapses.weight * per_message / per_unit, dtype=np.float64)
