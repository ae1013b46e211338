"""Room for states: units are made coarser until no sum leaves its width, by proof or on calibration data.

What gives way first costs least: the exponent of a population's input, then the shift of its input to its state where
the target leaves that free, its weights last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.errors import RefusedError
from ndeploy.fixed import STATE_MAX
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.lowered import GRADED
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi, CubaLif
from ndeploy.passes.fields import fit_fields
from ndeploy.passes.integerise import INPUT_MAX, integerise
from ndeploy.passes.margin import with_margin
from ndeploy.passes.ranges import Range, input_ranges
from ndeploy.quantizer import Choices, Quantised, Request, Room

CALIBRATION_SAMPLES = 64
ROUNDS = 40
LARGEST_EXPONENT = 7
LOWEST_EXPONENT = -8
"""How far a sum of graded messages is shifted down before its weights get coarser; with LARGEST_EXPONENT the chips'
range, and so how far the exponents of projections into one population may differ."""

Choose = Callable[[Mapping[str, float], Mapping[str, int], Mapping[str, int]], Choices]
"""(factors, shifts, coarser) -> choices: by population, by how much its weights are coarser than they could be, the
shift of its input to its state, and by how many powers of two the unit of its input is coarser."""


def settle(request: Request, progress: Callable[[str], None], choose: Choose) -> Quantised:
    """The program of the finest choices that leave room for its states.

    Where `request.rooms` knows every population, the program is not run to see whether that is enough: for the many
    programs of a search, whose scores count overflows anyway.

    Raises RefusedError ND302 (ranges that calibration data exceed however coarse the weights) and what `choose` and
    `integerise` raise.
    """
    factors: dict[str, float] = {}
    shifts: dict[str, int] = {}
    coarser: dict[str, int] = {}
    sample = None if request.calibration is None else request.calibration.spread(CALIBRATION_SAMPLES)
    found_before = _rooms(request)
    known = bool(found_before) and None not in found_before.values()
    for name, before in found_before.items():
        if before is not None:
            factors |= {name: before.factor} if before.factor != 1.0 else {}
            shifts |= {} if before.shift is None else {name: before.shift}
            coarser |= {name: before.coarser} if before.coarser else {}
    for round_ in range(ROUNDS):
        choices = choose(factors, shifts, coarser)
        program = fit_fields(integerise(request.lowered, request.schedule, choices, request.name), request.target)
        ranges = input_ranges(program)
        worse, new_shifts = _exceeded(request, program, ranges, sample is not None)
        spiking = any(isinstance(p.neuron, CubaLif | CubaLi) for p in program.populations)
        if not worse and not new_shifts and sample is not None and spiking and not known:
            progress(f"calibrating, round {round_ + 1}")
            found = _overflows(with_margin(program, ranges), sample)
            # graded messages are clipped by design, and their sums are proved to fit
            worse = {name: 2.0 for name in found if not isinstance(request.lowered.population(name).model, GRADED)}
        if not worse and not new_shifts:
            rooms = {
                name: Room(factors.get(name, 1.0), shifts.get(name), coarser.get(name, 0)) for name in _widths(request)
            }
            return Quantised(program, choices, _unproved(program, ranges), rooms=rooms)
        shifts |= new_shifts
        for name, factor in worse.items():
            whole = max(1, int(np.ceil(np.log2(factor))))
            room = _room(request, program, name, choices.exponent.get(name, 0))
            shift = _free_shift(request, program, name)
            if room > 0:
                coarser[name] = coarser.get(name, 0) + min(whole, room)
            elif shift > 0:
                shifts[name] = shift - min(whole, shift)
            else:
                factors[name] = factors.get(name, 1.0) * max(factor, 1.0 + 1e-6)
    raise RefusedError(
        "ND302",
        f"population '{next(iter(worse))}' overflows on calibration data at every weight scale tried",
        help="check its threshold and the range of the calibration data",
    )


def _widths(request: Request) -> dict[str, tuple[int, ...]]:
    """By population with weights that are chosen, their widths."""
    found: dict[str, tuple[int, ...]] = {}
    for p in request.lowered.projections:
        if not p.unit and p.integer is None:
            found[p.target] = (*found.get(p.target, ()), request.bits_of.get(p.name, request.bits))
    return found


def _rooms(request: Request) -> dict[str, Room | None]:
    """What a search has found for each population at its widths, or the next wider ones; None where nothing."""
    if not request.rooms:
        return {}
    found: dict[str, Room | None] = {}
    for name, widths in _widths(request).items():
        known = [bits for bits in sorted(request.rooms) if bits >= max(widths)]
        # of several projections with different widths, which one decides is not known beforehand
        found[name] = request.rooms[known[0]].get(name) if known and len(set(widths)) == 1 else None
    return found


def _exceeded(
    request: Request, program: Program, ranges: Mapping[str, Range], calibrated: bool
) -> tuple[dict[str, float], dict[str, int]]:
    """Populations whose input or state may leave its width by proof, with the factor that mends it; new shifts."""
    factors: dict[str, float] = {}
    shifts: dict[str, int] = {}
    inputs = {port.population for port in program.inputs}
    fed_by_input = {p.target for p in program.projections if p.source in inputs}
    for population in program.populations:
        bound = ranges[population.name]
        neuron = population.neuron
        if isinstance(neuron, CubaLif):
            must_prove = not calibrated or (population.name in fed_by_input and bound.input > INPUT_MAX)
            if must_prove and bound.current > STATE_MAX + 1:
                factors[population.name] = bound.current / STATE_MAX
        elif isinstance(neuron, CubaLi) and not calibrated and bound.state > STATE_MAX:
            room = int(np.floor(np.log2(STATE_MAX / bound.state))) if bound.state else 0
            if neuron.shift + room >= 0 and "any-input-shift" in request.target.features:
                shifts[population.name] = neuron.shift + room
            else:
                factors[population.name] = bound.state / STATE_MAX
    return factors, shifts


def _free_shift(request: Request, program: Program, name: str) -> int:
    """The shift of the population's input to its state, 0 where the target fixes it: a smaller one makes room without
    touching the weights. A deep negative membrane would otherwise cost its layer most of its bits."""
    neuron = program.population(name).neuron
    free = "any-input-shift" in request.target.features and isinstance(neuron, CubaLif | CubaLi)
    return neuron.shift if free and isinstance(neuron, CubaLif | CubaLi) else 0


def _room(request: Request, program: Program, name: str, exponent: int) -> int:
    """By how many powers of two the population's unit can become coarser without touching its weights, from
    `exponent` down: to 0, or to the target's lowest where messages carry integers.

    Sums of graded messages outgrow the input's width by far; weights of fewer bits would lose more than the low bits
    of the sum. Binary spikes stay with exponents from 0 up, which chips and Lava compute alike.
    """
    fed_by_product = any(q.target == name for q in program.products)
    graded = any(program.population(p.source).neuron.message.bits > 1 for p in program.projections if p.target == name)
    if fed_by_product or not graded:
        return max(0, exponent)
    low = request.target.widths.weight_exponent_low.value
    return exponent - (LOWEST_EXPONENT if low is None else max(low, LOWEST_EXPONENT))


def _overflows(program: Program, data: Data) -> list[str]:
    from ndeploy.sim import run

    program = for_data(program, data.x)
    return [name for name, events in run(program, encode(program, data.x, data.x_scale)).overflow.items() if events]


def _unproved(program: Program, ranges: Mapping[str, Range]) -> tuple[Diagnostic, ...]:
    """A warning for every population whose current or readout could leave 24 bits for inputs not seen."""
    found = []
    for population in program.populations:
        bound, neuron = ranges[population.name], population.neuron
        if not isinstance(neuron, CubaLif | CubaLi):
            continue
        if bound.current > STATE_MAX + 1:
            what = f"the synaptic current could reach {bound.current} (input {bound.input} << {neuron.shift})"
        elif isinstance(neuron, CubaLi) and bound.state > STATE_MAX:
            what = f"the membrane could reach {bound.state} over {program.steps} model steps"
        else:
            continue
        found.append(
            Diagnostic(
                "ND303",
                f"population '{population.name}': {what}, beyond {STATE_MAX}, for inputs that calibration data do not "
                "hold",
                "overflows are counted at run time; calibrate with data that cover your inputs",
            )
        )
    return tuple(found)
