"""Does the program use only what the target has, and does every value fit its field?

A constraint is a small function whose docstring is the message a user gets. It yields a `Fault` for each object that
breaks it, or nothing. How much of a core something takes is not asked here but by ndeploy/place, which refuses what
cannot be split.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ndeploy import check_graded as graded
from ndeploy.errors import RefusedError
from ndeploy.faults import FEATURE, WIDTH, Constraint, Fault, beyond, first_bad, of, parameter, worst
from ndeploy.fixed import DECAY_ONE, STATE_MAX, STATE_SHIFT, IntArray
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import BINARY, Compare, Input
from ndeploy.realise import index_sizes, realise
from ndeploy.target import Target, unknown_limits, validate

# -- what the target lacks ---------------------------------------------------------------------------------------------


def neuron_kind(program: Program, target: Target) -> Iterator[Fault]:
    """The target has no such neuron"""
    for p in program.populations:
        if p.neuron.kind not in target.neuron_kinds:
            computes = p.neuron.kind in graded.KINDS
            yield Fault(
                of(p),
                f"neuron kind '{p.neuron.kind}'" + (" of a network that computes with graded messages" * computes),
                f"one of {', '.join(target.neuron_kinds.values)}",
                "compile with --target loihi2, whose neurons are programs"
                + (" and whose spikes carry numbers" if computes else ", or train with LIF neurons"),
            )


def reset_kind(program: Program, target: Target) -> Iterator[Fault]:
    """The target's neuron cannot reset in this way"""
    for p in program.populations:
        reset = getattr(p.neuron, "reset", None)
        if reset is not None and reset not in target.resets:
            yield Fault(
                of(p),
                f"reset '{reset}'",
                f"one of {', '.join(target.resets.values)}",
                "compile for loihi2, or train with a reset to zero in the step of the spike",
            )


def reset_value(program: Program, target: Target) -> Iterator[Fault]:
    """The target resets the membrane to zero only"""
    if "reset-value" in target.features:
        return
    for p in program.populations:
        value = parameter(p, "reset_value")
        if value is not None and worst(value):
            yield Fault(of(p), f"reset value {worst(value)}", "0", "compile for loihi2, or train with a reset to zero")


def input_bias(program: Program, target: Target) -> Iterator[Fault]:
    """The target has no bias on the synaptic current"""
    if "input-bias" in target.features:
        return
    for p in program.populations:
        value = parameter(p, "input_bias")
        if value is not None and worst(value):
            yield Fault(
                of(p),
                f"input bias {worst(value)}",
                "0",
                "compile for loihi2, or train without a bias before a synapse filter",
            )


def input_shift(program: Program, target: Target) -> Iterator[Fault]:
    """The target aligns synaptic input to the state by a fixed shift"""
    if "any-input-shift" in target.features:
        return
    for p in program.populations:
        if not hasattr(p.neuron, "du"):  # another model's shift is no alignment
            continue
        value = getattr(p.neuron, "shift", STATE_SHIFT)
        if value != STATE_SHIFT:
            yield Fault(
                of(p), f"shift {value}", f"{STATE_SHIFT}", "compile for loihi2, or quantise with the shift of Loihi"
            )


def embedded_products(program: Program, target: Target) -> Iterator[Fault]:
    """The target has no embedded processor for a product of two messages"""
    if "embedded-processor" in target.features:
        return
    for product in program.products:
        if product.realisation == "embedded":
            yield Fault(
                f"product '{product.name}'",
                "realisation 'embedded'",
                "neurocores",
                "compile with --attention parallel or streamed",
            )


def product_operands(program: Program, target: Target) -> Iterator[Fault]:
    """The target's neurons cannot multiply these messages"""
    for product in program.products:
        if product.realisation == "embedded":
            continue
        binary = all(program.population(name).neuron.message == BINARY for name in (product.left, product.right))
        need = "coincidence" if binary else "graded-product"
        if need not in target.features:
            known = [name for name in ("coincidence", "graded-product") if name in target.features]
            yield Fault(
                f"product '{product.name}'",
                f"{'binary' if binary else 'graded'} operands",
                " and ".join(known) or "no products on neurocores",
                "compile for loihi2, or with --attention embedded",
            )


def streamed_products(program: Program, target: Target) -> Iterator[Fault]:
    """Without neurons that hold a message, a streamed product releases its slices by synaptic delays"""
    if "hold-and-release" in target.features:
        return
    for product in program.products:
        if product.realisation == "streamed":
            length = index_sizes(product)[product.stream]
            if beyond(length - 1, target.widths.delay):
                yield Fault(
                    f"product '{product.name}'",
                    f"{length} slices along '{product.stream}'",
                    f"delays up to {target.widths.delay.value}",
                    "compile with --attention parallel or embedded, or for loihi2",
                )


# -- values too wide ---------------------------------------------------------------------------------------------------


def payload(program: Program, target: Target) -> Iterator[Fault]:
    """The target's spikes do not carry such a message"""
    limit = target.widths.payload
    for p in program.populations:
        message = p.neuron.message
        if beyond(message.bits, limit) or (limit.value == 1 and message.bits and message != BINARY):
            sign = "signed" if message.signed else "unsigned"
            yield Fault(
                of(p),
                f"{message.bits}-bit {sign} message",
                "binary spikes" if limit.value == 1 else f"{limit.value} bits",
                "encode the input as binary spikes" if isinstance(p.neuron, Input) else "compile for loihi2",
            )


def weight_bits(program: Program, target: Target) -> Iterator[Fault]:
    """Weights are wider than the target stores"""
    for j in program.projections:
        if beyond(j.weight_bits, target.widths.weight):
            yield Fault(
                f"projection '{j.name}'",
                f"{j.weight_bits}-bit weights",
                f"{target.widths.weight.value} bits",
                f"compile with --bits {target.widths.weight.value} or fewer",
            )


def weight_exponent(program: Program, target: Target) -> Iterator[Fault]:
    """The weight exponent is out of the target's range"""
    low, high = target.widths.weight_exponent_low.value, target.widths.weight_exponent_high.value
    items = [(f"projection '{j.name}'", j.exponent) for j in program.projections]
    items += [(f"product '{x.name}'", -x.exponent) for x in program.products if x.realisation != "embedded"]
    for subject, exponent in items:
        if (low is not None and exponent < low) or (high is not None and exponent > high):
            yield Fault(
                subject,
                f"exponent {exponent}",
                f"{low} to {high}",
                "quantise with a weight scale nearer to the threshold's",
            )


def delay(program: Program, target: Target) -> Iterator[Fault]:
    """The delay is longer than the target stores; a projection of d chip steps stores d - 1 and its synapses' own"""
    stored = [(f"projection '{j.name}'", stored_delay(j.delay, j.delays)) for j in program.projections]
    stored += [(f"product '{x.name}'", max(x.delay - realise(x).chip_steps, 0)) for x in program.products]
    for subject, steps in stored:
        if beyond(steps, target.widths.delay):
            yield Fault(
                subject,
                f"stored delay {steps}",
                f"{target.widths.delay.value} chip steps",
                "relay the message through a population on the way, or shorten the skip it balances",
            )


def stored_delay(delay: int, delays: IntArray | None) -> int:
    """Largest delay a projection stores: chip steps beyond the one that every projection takes."""
    return delay - 1 + (0 if delays is None else int(delays.max(initial=0)))


def decays(program: Program, target: Target) -> Iterator[Fault]:
    """A decay does not fit the target's field"""
    limit = target.widths.decay.value
    for p in program.populations:
        for name in ("du", "dv"):
            value = parameter(p, name)
            if value is None or limit is None:
                continue
            top = min(1 << limit, DECAY_ONE) - 1
            if int(np.asarray(value).min()) < 0 or int(np.asarray(value).max()) > top:
                yield Fault(
                    of(p),
                    f"{name} up to {worst(value)}",
                    f"0 to {top}",
                    "choose a time constant of at least one step",
                )


def thresholds(program: Program, target: Target) -> Iterator[Fault]:
    """A threshold does not fit the target's field"""
    for p in program.populations:
        for name in ("vth", "vth_low", "vth_high"):
            value = parameter(p, name)
            if value is not None and p.neuron.kind.endswith("-lif"):
                yield from _threshold(p, name, np.asarray(value, dtype=np.int64), target)
        if isinstance(p.neuron, Compare) and "any-threshold" not in target.features:
            level = np.asarray(p.neuron.vth, dtype=np.int64) - np.asarray(p.neuron.bias, dtype=np.int64)
            yield from _threshold(p, "vth - bias", level << STATE_SHIFT, target)


def _threshold(p: Population, name: str, value: IntArray, target: Target) -> Iterator[Fault]:
    bits, shift = target.widths.threshold_mantissa.value, target.widths.threshold_shift.value
    if "any-threshold" in target.features or bits is None or shift is None:
        bad = np.abs(value) > STATE_MAX
        limit = f"+-{STATE_MAX}"
    else:
        top = ((1 << bits) - 1) << shift
        bad = (value < 0) | (value > top) | (value & ((1 << shift) - 1) != 0)
        limit = f"a multiple of {1 << shift} from 0 to {top}"
    if bad.any():
        yield Fault(
            of(p),
            first_bad(name, value, bad),
            limit,
            "round the threshold to the chip's mantissa, or compile for loihi2, whose thresholds are free",
        )


def biases(program: Program, target: Target) -> Iterator[Fault]:
    """A bias does not fit the target's mantissa and exponent"""
    bits, exponent = target.widths.bias_mantissa.value, target.widths.bias_exponent.value
    for p in program.populations:
        found = parameter(p, "bias")
        if found is None:
            continue
        value = np.asarray(found, dtype=np.int64)
        if "any-bias" in target.features or bits is None or exponent is None:
            bad, limit = np.abs(value) > STATE_MAX, f"+-{STATE_MAX}"
        else:
            magnitude = np.abs(value)
            for _ in range(exponent):
                magnitude = np.where((magnitude >= 1 << bits) & (magnitude % 2 == 0), magnitude // 2, magnitude)
            bad, limit = magnitude >= 1 << bits, f"a {bits}-bit mantissa times 2^0 to 2^{exponent}"
        if bad.any():
            yield Fault(
                of(p),
                first_bad("bias", value, bad),
                limit,
                "round the bias to the chip's mantissa, or compile for loihi2",
            )


def refractory(program: Program, target: Target) -> Iterator[Fault]:
    """The refractory period is longer than the target counts"""
    for p in program.populations:
        value = int(getattr(p.neuron, "refractory", 0))
        if beyond(value, target.widths.refractory):
            yield Fault(
                of(p),
                f"{value} steps",
                f"{target.widths.refractory.value} steps",
                "use a coarser dt or a shorter period",
            )


CONSTRAINTS: tuple[tuple[str, Constraint], ...] = (
    (FEATURE, neuron_kind),
    (FEATURE, payload),
    (FEATURE, reset_kind),
    (FEATURE, reset_value),
    (FEATURE, input_bias),
    (FEATURE, input_shift),
    (FEATURE, embedded_products),
    (FEATURE, product_operands),
    (FEATURE, streamed_products),
    *graded.FEATURES,
    (WIDTH, weight_bits),
    (WIDTH, weight_exponent),
    (WIDTH, delay),
    (WIDTH, decays),
    (WIDTH, thresholds),
    (WIDTH, biases),
    (WIDTH, refractory),
    *graded.WIDTHS,
)
"""Every constraint with the code of its refusal, in the order in which they are reported."""


def message(constraint: Constraint) -> str:
    """The first line of a constraint's docstring: the sentence users read."""
    return (constraint.__doc__ or constraint.__name__).strip().splitlines()[0]


def check(program: Program, target: Target) -> tuple[Diagnostic, ...]:
    """Refuse what the target cannot do; say what could not be checked.

    Raises RefusedError ND403 (a feature the target lacks) or ND411 (a value too wide): the first fault in full, the
    others by name; UsageError ND410 where the target's own data are not whole. Returns warnings: ND420 where limits
    of the chip are not public.
    """
    validate(target)
    faults = [(code, message(rule), fault) for code, rule in CONSTRAINTS for fault in rule(program, target)]
    if faults:
        code, text, fault = faults[0]
        others = [f"{other.subject}: {said}" for _, said, other in faults[1:]]
        more = f" ({len(others)} more: {'; '.join(others[:4])}{'; ...' if len(others) > 4 else ''})" if others else ""
        raise RefusedError(
            code,
            f"{fault.subject} on {target.name}: {text[0].lower()}{text[1:]}: {fault.value}; limit: {fault.limit}{more}",
            help=fault.help,
        )
    unknown = unknown_limits(target)
    if not unknown:
        return ()
    return (
        Diagnostic(
            "ND420",
            f"{target.name}: {len(unknown)} limits are not published and were not checked: {', '.join(unknown)}",
            help="the program fits the public model of the chip; its physical fit is not verified",
        ),
    )
