"""Constraints of networks that compute with graded messages: what their neurons need of a target, and their widths.

As in ndeploy/check.py a constraint's docstring is the message. Widths are those of docs/program.md: the program's own,
the same on every target; what a target may lack is a feature.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ndeploy.faults import FEATURE, WIDTH, Constraint, Fault, first_bad, of, parameter
from ndeploy.fixed import DECAY_BITS, DECAY_ONE, MULTIPLIER_BITS, STATE_MAX, IntArray
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import Synchrony
from ndeploy.target import Target

KINDS = ("affine", "gate", "layer-norm", "register", "silu", "softmax", "synchrony")
"""Kinds of neurons that only networks of graded messages have."""
EMBEDDED_STEPS = 2
"""Chip steps that a message of the embedded processor takes at least: it is read, worked on, and injected."""


def updates_of(program: Program, population: Population) -> int:
    """Updates the population makes in a sample."""
    return program.steps if population.updates is None else min(population.updates, program.steps)


# -- what the target lacks ---------------------------------------------------------------------------------------------


def embedded_neurons(program: Program, target: Target) -> Iterator[Fault]:
    """The target has no embedded processor for neurons that mix their population's sums"""
    if "embedded-processor" in target.features:
        return
    for p in program.populations:
        if p.neuron.embedded:
            yield Fault(
                of(p),
                f"{p.neuron.operations(p.size)} operations an update on the embedded processor",
                "neurocores",
                "compile with --target loihi2",
            )


def stopping(program: Program, target: Target) -> Iterator[Fault]:
    """The target's neurons cannot stop after a number of updates"""
    if "stop" in target.features:
        return
    for p in program.populations:
        if p.neuron.ports and updates_of(program, p) < program.steps:
            yield Fault(
                of(p),
                f"{p.updates} of {program.steps} updates",
                "an update every model step",
                "compile with --target loihi2, whose neurons are programs",
            )


def latches(program: Program, target: Target) -> Iterator[Fault]:
    """The target's product neurons cannot keep an operand that is sent once"""
    if "hold-and-release" in target.features:
        return
    for product in program.products:
        for operand in (product.left, product.right) if product.realisation != "embedded" else ():
            updates = updates_of(program, program.population(operand))
            if updates < program.steps:
                yield Fault(
                    f"product '{product.name}'",
                    f"operand '{operand}' sent in {updates} of {program.steps} model steps",
                    "operands of every model step",
                    "compile with --attention embedded, or with --target loihi2",
                )


def ports(program: Program, target: Target) -> Iterator[Fault]:
    """It ends on a port that its target neuron does not have"""
    ends: tuple[Projection | Product, ...] = (*program.projections, *program.products)
    for x in ends:
        neuron = program.population(x.target).neuron
        if x.port not in neuron.ports:
            yield Fault(
                f"'{x.name}'",
                f"port '{x.port}' of '{x.target}'",
                f"ports of {neuron.kind}: {', '.join(neuron.ports) or 'none'}",
                "compile again: this is a defect of the program, not of the network",
            )


# -- values too wide ---------------------------------------------------------------------------------------------------


def embedded_delay(program: Program, target: Target) -> Iterator[Fault]:
    """A message of the embedded processor takes longer than that"""
    for x in program.projections:
        if program.population(x.source).neuron.embedded and x.delay < EMBEDDED_STEPS:
            yield Fault(
                f"projection '{x.name}'",
                f"delay {x.delay} from '{x.source}'",
                f"{EMBEDDED_STEPS} chip steps or more",
                "compile again: its schedule leaves the processor no time",
            )


_RANGES: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (("multiplier", "gate_multiplier"), 0, (1 << MULTIPLIER_BITS) - 1),
    (("table", "gain"), -(1 << MULTIPLIER_BITS) + 1, (1 << MULTIPLIER_BITS) - 1),
    (("factor",), 0, DECAY_ONE),
    (("start", "gate_bias"), -STATE_MAX, STATE_MAX),
)
"""Parameters, their least and their greatest value (docs/program.md, "Widths")."""


def parameters(program: Program, target: Target) -> Iterator[Fault]:
    """A parameter does not fit its field"""
    for p in program.populations:
        for names, low, high in _RANGES:
            for name in names:
                found = parameter(p, name)
                if found is None:
                    continue
                value = np.asarray(found, dtype=np.int64)
                bad = (value < low) | (value > high)
                if bad.any():
                    yield Fault(
                        of(p),
                        first_bad(name, value, bad),
                        f"{low} to {high}",
                        "quantise with fewer bits or a coarser scale of the message",
                    )


def _reach(program: Program, population: Population, port: str) -> IntArray | None:
    """Largest magnitude of the sum on a port, by neuron; None where a product ends there."""
    if any(x.target == population.name and x.port == port for x in program.products):
        return None
    total = np.zeros(population.size, dtype=np.int64)
    for x in program.projections:
        if x.target == population.name and x.port == port:
            message = program.population(x.source).neuron.message
            positive, negative = x.synapses.sums()
            high = positive * message.high + negative * message.low
            low = positive * message.low + negative * message.high
            one = np.maximum(np.abs(high), np.abs(low))
            # rounding down may add one to a negative sum, and each delay's sum is rounded apart
            parts = 1 if x.delays is None else int(np.unique(x.delays).size)
            total += one << x.exponent if x.exponent >= 0 else (one >> -x.exponent) + parts
    return total


def alpha_bound(program: Program, population: Population) -> IntArray | None:
    """|alpha| of a synchrony population at most, after any of its updates, by neuron; None where it cannot be told."""
    neuron = population.neuron
    if not isinstance(neuron, Synchrony):
        return None
    left, right = (_reach(program, population, port) for port in neuron.ports)
    if left is None or right is None:
        return None
    # a product is rounded to nearest, by half a unit at most; a decay rounds towards zero
    product = -((-(left * right)) >> neuron.exponent)
    factor = np.broadcast_to(np.asarray(neuron.factor, dtype=np.int64), population.shape).reshape(-1)
    start = np.broadcast_to(np.asarray(neuron.start, dtype=np.int64), population.shape).reshape(-1)
    alpha = most = np.abs(start)
    for _ in range(updates_of(program, population)):
        alpha = np.minimum((alpha * factor >> DECAY_BITS) + product, 1 << 40)
        most = np.maximum(most, alpha)
    return np.asarray(most, dtype=np.int64)


def synchrony_state(program: Program, target: Target) -> Iterator[Fault]:
    """A synchronisation's accumulator may leave its 24 bits over the model steps"""
    for p in program.populations:
        bound = alpha_bound(program, p)
        if bound is not None and bool((bound > STATE_MAX).any()):
            yield Fault(
                of(p),
                f"up to {int(bound.max())} after {updates_of(program, p)} updates "
                f"({int((bound > STATE_MAX).sum())} of {bound.size} pairs)",
                f"+-{STATE_MAX}",
                "use fewer iterations, or fewer bits for the messages it multiplies",
            )


FEATURES: tuple[tuple[str, Constraint], ...] = (
    (FEATURE, embedded_neurons),
    (FEATURE, stopping),
    (FEATURE, latches),
    (FEATURE, ports),
)
WIDTHS: tuple[tuple[str, Constraint], ...] = (
    (WIDTH, embedded_delay),
    (WIDTH, parameters),
    (WIDTH, synchrony_state),
)
"""Constraints with the code of their refusal, in the order in which they are reported."""
