"""Which of Lava's processes a Program needs on a Loihi, and why it cannot run there where it cannot.

What `plan.py` gives to a process of ours, or to one of Lava's that we hold and clear from outside, has no chip process:
a neuron of a chip runs from the first chip step to the last. numpy only: refusals need no Lava and no board.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from ndeploy.targets._lava import parameters
from ndeploy.targets._lava.parameters import NotNative
from ndeploy.targets._lava.plan import OWN, Assignment, plan
from ndeploy.targets._lava.schedule import Schedule, projection_lag

from ndeploy.errors import RefusedError
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.neurons import (
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Input,
    ProductNeuron,
    Relay,
    Sigma,
    SigmaDelta,
    TernaryLif,
)
from ndeploy.synapses import Conv

PAYLOAD_BITS = 24
"""Of a graded message between host and chip: lava-nc 0.10.0, lava/networks/gradedvecnetwork.py: InputVec, OutputVec."""
NONE = "no chip process"
NAMED = 8
"""Parts that a refusal names."""


@dataclass(frozen=True)
class ChipPlan:
    """apart: every sample is a run of its own, from a chip that was configured anew; otherwise they follow each other
    in one run, `window` chip steps from start to start, and every neuron is reset when its part of a sample begins."""

    populations: Mapping[str, Assignment]
    projections: Mapping[str, Assignment]
    window: int
    apart: bool

    def schedule(self, program: Program, samples: int) -> Schedule:
        """Chip steps of one run."""
        return Schedule(program.steps, program.period, self.window, samples)


@dataclass(frozen=True)
class Refusal:
    """A part of a program that cannot run on the chip."""

    part: str
    reason: str


def binary(population: Population) -> bool:
    """Whether its messages are spikes. What passes a sum on declares one bit and may send more."""
    message = population.neuron.message
    return message.bits == 1 and not message.signed and not isinstance(population.neuron, Relay | ProductNeuron)


def full_word(population: Population) -> bool:
    """Whether the highest bit of its 24 is no sign. What passes a sum on may send negative values, declared or not."""
    message = population.neuron.message
    sums = isinstance(population.neuron, Relay | ProductNeuron)
    return message.bits == PAYLOAD_BITS and not message.signed and not sums


def chip_plan(program: Program) -> ChipPlan:
    """The processes and how samples follow each other. Raises RefusedError ND676, which names what has none."""
    found, refusals = _planned(program)
    if refusals:
        raise refused(refusals)
    return found


def refused(refusals: list[Refusal]) -> RefusedError:
    """The error that names them."""
    named = "; ".join(f"{r.part}: {r.reason}" for r in refusals[:NAMED])
    more = f"; and {len(refusals) - NAMED} more" if len(refusals) > NAMED else ""
    return RefusedError(
        "ND676",
        f"{len(refusals)} part{'s' if len(refusals) != 1 else ''} of the program cannot run on a Loihi: {named}{more}",
        help="run it with --runner sim or lava; `ndeploy explain ND676` says what a chip can compute",
    )


def describe(program: Program) -> list[tuple[Assignment, str]]:
    """Every part with its process and, where it has none on the chip, the reason."""
    found, refusals = _planned(program)
    why = {r.part: r.reason for r in refusals}
    parts = [*found.populations.values(), *found.projections.values()]
    parts += [Assignment(p.name, NONE) for p in program.products]
    whole = why.get(program.name, "")
    return [(part, why.get(part.name, "") or whole) for part in parts]


def _planned(program: Program) -> tuple[ChipPlan, list[Refusal]]:
    given = plan(program)
    refusals = []
    if program.period > 1:
        why = f"a model step takes {program.period} chip steps, and a neuron of a chip does not wait"
        refusals.append(Refusal(program.name, why))
    apart = program.period == 1 and any(a.held for a in given.populations.values())
    populations = {p.name: _neurons(given.populations[p.name]) for p in program.populations}
    projections = {p.name: _synapses(program, p, given.projections[p.name]) for p in program.projections}
    for population in program.populations:
        reason = _population(population, populations[population.name])
        if reason:
            refusals.append(Refusal(population.name, reason))
    refusals += [Refusal(a.name, a.reason) for a in projections.values() if not a.native]
    refusals += [Refusal(p.name, "Lava has no product of two messages") for p in program.products]
    if apart and not refusals:
        refusals += _early(program, populations)
    window = _power_of_two(given.window)
    return ChipPlan(populations, projections, window, apart), refusals


def _power_of_two(steps: int) -> int:
    """LIFReset on the chip takes no other interval (docs/loihi.md: two published programs say so)."""
    return 1 << max(1, (steps - 1).bit_length())


def _neurons(assignment: Assignment) -> Assignment:
    """LIFReset for all that is one: its reset gives it its start. The rest starts with the chip."""
    if assignment.process in ("LIF", "LIFReset"):
        return replace(assignment, process="LIFReset", reason="")
    return assignment if not assignment.held else replace(assignment, reason="")


def _population(population: Population, assignment: Assignment) -> str:
    """Why it cannot be on the chip, or cross to it; empty if it can."""
    message = population.neuron.message
    if not assignment.native:
        return assignment.reason
    if message.bits > PAYLOAD_BITS:
        return f"messages of {message.bits} bits, {PAYLOAD_BITS} pass between host and chip"
    if isinstance(population.neuron, CubaLif | CubaLi) and np.any(population.neuron.input_bias):
        return "a bias of its current would have to come from the host at every chip step"
    return ""


def _synapses(program: Program, projection: Projection, assignment: Assignment) -> Assignment:
    """The chip's synapses; a convolution as single synapses, for Lava's own needs populations in its own layout.

    Spikes are spikes there: Sparse as a matrix product of one-bit payloads is a matter of the CPU.
    """
    if not assignment.native:
        return assignment
    source = program.population(projection.source)
    message = source.neuron.message
    if not binary(source):
        message = replace(message, bits=max(message.bits, 2))
    if isinstance(projection.synapses, Conv) and assignment.process == "Conv":
        try:
            assignment = replace(assignment, process="Sparse", arguments=parameters.sparse(projection, message))
        except NotNative as why:
            return Assignment(projection.name, OWN["projection"], f"as single synapses: {why}")
    bits = 0 if binary(source) else message.bits
    return replace(assignment, arguments={**assignment.arguments, "num_message_bits": bits})


# -- samples that run apart start on a chip at rest; what is at rest must stay so until its turn --------------------


def _quiet(population: Population) -> bool:
    """Whether it sends nothing before its first update, as long as nothing arrives."""
    neuron = population.neuron
    if isinstance(neuron, CubaLif):
        return not np.any(neuron.bias) and bool(np.all(np.asarray(neuron.vth) >= 0))
    if isinstance(neuron, TernaryLif):
        low, high = np.asarray(neuron.vth_low), np.asarray(neuron.vth_high)
        return not np.any(neuron.bias) and bool(np.all(low <= 0) and np.all(high >= 0))
    if isinstance(neuron, Compare):
        return bool(np.all(np.asarray(neuron.vth) - np.asarray(neuron.bias) >= 0))
    if isinstance(neuron, Relay | ProductNeuron):
        return int(neuron.vth) >= 0
    if isinstance(neuron, SigmaDelta):
        return population.offset == 0 or not np.any(neuron.bias)
    return isinstance(neuron, Input | CubaLi | Sigma | Delta)


def _early(program: Program, populations: Mapping[str, Assignment]) -> Iterator[Refusal]:
    """What would act before its first update, or be acted on, and has no reset that mends it."""
    resets = {name for name, assignment in populations.items() if assignment.process == "LIFReset"}
    active = {p.name for p in program.populations if not _quiet(p)}
    while more := {p.target for p in program.projections if p.source in active} - active:
        active |= more
    for population in program.populations:
        if population.name in active and population.name not in resets:
            yield Refusal(population.name, "it, or what it listens to, sends before its first model step")
    for projection in program.projections:
        if projection.source in active and projection.source in resets and projection_lag(program, projection):
            yield Refusal(
                projection.name, f"'{projection.source}' would send on it before its first model step (a bias)"
            )
