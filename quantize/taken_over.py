"""Networks that come quantised, taken over exactly: their weights are mantissas already, their steps are kept.

NetX networks come with integers. Float checkpoints of quantisation-aware training (LSQ and others) come with weights
that are whole multiples of a step, one for each layer, channel or neuron; the step is found again after batch norms
were folded in (`_grid`), and the unit of each neuron's input is made of it (`_given_units`). Weights that are not on a
grid are refused; with --set others=uniform they are quantised as the method uniform does, at --bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ndeploy.errors import RefusedError
from ndeploy.ir.program import Program
from ndeploy.passes.graded_units import port_key
from ndeploy.quantizer import Quantised, Request
from ndeploy.search.assignment import mean_bits
from ndeploy.search.cost import memory, packed_memory
from ndeploy.search.explanation import Explanation, LayerReason

from ._settling import settle
from ._taking import Taking
from .uniform import choices

NAME = "taken-over"
OTHERS = ("refuse", "uniform")
"""What becomes of layers whose weights are on no grid (--set others=...)."""


def quantize(request: Request, progress: Callable[[str], None]) -> Quantised:
    """The program with the network's own weights.

    Raises RefusedError ND310 (weights on no grid), ND311 (steps that no unit of a neuron's input combines), ND302 (sums
    that leave their width with the weights as they are), UsageError ND205 (a bad `others`) and what `uniform` raises.
    """
    if not 2 <= request.bits <= 16:
        raise RefusedError("ND301", f"{request.bits} weight bits", help="choose --bits between 2 and 16")
    others = OTHERS[0]
    floats = [p for p in request.lowered.projections if not p.unit and p.integer is None]
    if floats and request.settings is not None:
        others = request.settings.get("others", OTHERS, OTHERS[0])
    taking = Taking(request, others == "uniform")
    found = settle(
        request,
        progress,
        lambda factors, shifts, coarser: choices(request, factors, shifts, coarser, {}, taking),
    )
    return replace(found, explanation=_explained(request, found.program, taking))


def _explained(request: Request, program: Program, taking: Taking) -> Explanation:
    """Every layer's width, and where it comes from."""
    weights = {p.name: p.weight_bits for p in program.projections if not p.unit}
    packed = memory(program, request.target)
    reasons = []
    for projection in request.lowered.projections:
        name, size = projection.name, projection.synapses.weight.size
        if projection.unit or name not in weights:
            continue
        bits, scale, why = weights[name], "per population", ""
        given = taking.of(name)
        if projection.integer is not None:
            why = "integers of the file, as they are"
        elif given is not None:
            scale, why = given.scale, "multiples of steps of their own, as they came"
            if given.rounded:
                why += f"; {given.rounded} of them rounded: the threshold takes the whole state"
        else:
            key = port_key(projection.target, projection.port)
            fit = taking.misfits[key if key in taking.misfits else projection.target]
            why, scale = f"quantised at {bits} bits: {fit.why}", "per neuron"
        reasons.append(LayerReason(name, bits, size, scale, -(-packed.options[name][bits] // 8), why=why))
    return Explanation(
        NAME,
        tuple(reasons),
        mean_bits=mean_bits(request.lowered, weights),
        memory_bytes=packed_memory(program, request.target),
    )
