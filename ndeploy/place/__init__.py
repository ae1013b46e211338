"""Which neurons go on which core: few cores, little traffic or balanced time, with the lower bound beside it.

Every population, and every buffer and neuron of a product that runs on neurocores, is cut into boxes, and boxes are put
on cores so that no limit of the target is exceeded. Nothing is enumerated synapse by synapse.
"""

from __future__ import annotations

from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.place.affinity import less_traffic
from ndeploy.place.assemble import Found, assemble, chips_of, unplaced
from ndeploy.place.assign import cut_all
from ndeploy.place.balance import balanced
from ndeploy.place.bounds import lower_bound
from ndeploy.place.layers import halved
from ndeploy.place.operations import embedded_operations, host_operations
from ndeploy.place.packing import Packed, pack
from ndeploy.place.physical import arranged
from ndeploy.place.placed import CoreUse, Operation, Placed, Slice
from ndeploy.place.rates import checked
from ndeploy.place.split import capacity_of
from ndeploy.place.units import units_of
from ndeploy.target import Target

OBJECTIVES = ("cores", "traffic", "latency", "layers")
"""cores: the fewest; traffic: few packets between cores, by measured rates; latency: balanced time; layers: no core is
shared by two layers, each is halved until its parts fit."""
METHODS = ("auto", "greedy", "cp-sat")
"""auto: CP-SAT after greedy where the problem is small, ortools is there and greedy is above the lower bound."""


def place(
    program: Program, target: Target, objective: str = "cores", rates: Activity | None = None, method: str = "auto"
) -> Placed:
    """Place a program. Deterministic: the same arguments give the same placement.

    objective, method: one of `OBJECTIVES` and `METHODS`. rates: what a run sent, for objectives that weigh messages;
    without it every neuron is taken to send equally often.
    Raises UsageError ND413 for an unknown objective or method, RefusedError ND402 where a single neuron is too much for
    a core, ND412 where no system has enough chips; UsageError ND416 where cp-sat is asked for and
    ortools is missing, ND430 for rates of another program, ND434 for rates that are all zero.
    """
    for given, known, what in ((objective, OBJECTIVES, "objective"), (method, METHODS, "method")):
        if given not in known:
            raise UsageError("ND413", f"{what} '{given}' of a placement", help=f"known: {', '.join(known)}")
    units = units_of(program, target)
    if not target.placed:
        return unplaced(program, target, units, objective)
    capacity = capacity_of(target.core)
    bound, by = lower_bound(units, capacity)
    chips_of(bound, target)  # refused before the work of cutting what cannot fit anywhere
    notes: tuple[str, ...] = ()
    pieces, hosted = cut_all(units, capacity)
    alone = sum(piece.need.memory for piece in pieces)
    sent = checked(program, rates, decisive=objective in ("traffic", "latency"))
    if objective == "layers":
        pieces, hosted = cut_all(units, capacity, halved)
        packed = Packed(pieces, tuple(range(len(pieces))), hosted)
    else:
        packed, notes = pack(units, capacity, pieces, hosted, bound, method)
    if objective == "traffic":
        packed = less_traffic(program, target, units, capacity, packed, sent)
    elif objective == "latency":
        packed, told = balanced(program, target, units, capacity, packed, sent)
        notes += told
    chips_of(packed.used, target)
    packed = arranged(program, target, packed, sent)
    return assemble(program, target, units, packed, Found(alone, bound, by, objective, packed.method, notes))


__all__ = [
    "METHODS",
    "OBJECTIVES",
    "CoreUse",
    "Operation",
    "Placed",
    "Slice",
    "embedded_operations",
    "host_operations",
    "lower_bound",
    "place",
]
