"""What a method decides about graded messages when it has no better plan: payloads by role, scales from observation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ndeploy.histograms import clip_ranges
from ndeploy.ir.lowered import GRADED, DeltaCoded, Lowered, RealConv, RealProduct, Softmaxed
from ndeploy.passes.codings import message_codings, rescales, signed
from ndeploy.passes.graded import thresholds
from ndeploy.passes.graded_units import LOWEST_EXPONENT, REACH, port_units
from ndeploy.passes.inputs import input_coding
from ndeploy.quantizer import Choices, InputCoding, Request

ACTIVATION_BITS = 16
STATIC_BITS = 12
"""Payload of what is computed once a sample (backbones, keys, values) and of softmax."""
IMAGE_BITS = 8
"""Payload of images and of the rectified values of backbones."""
READOUT_BITS = 16
LEAST_OPERAND_BITS = 6
HEADROOM = 1.25
"""How much beyond the calibration data's range a graded message reaches before it is clipped."""


def message_bits(request: Request) -> dict[str, int]:
    """Payload of every graded population whose scale is free: what was asked for, or what costs no accuracy on the
    networks measured (facts: 8 bits suffice for most signals, 12 are needed for synchronisation and queries)."""
    result = {}
    readouts = {name for name, _ in request.lowered.outputs}
    for population in request.lowered.populations:
        if not rescales(request.lowered, population):
            continue
        narrow = population.updates is not None or isinstance(population.model, Softmaxed)
        chosen = request.activation_bits or (STATIC_BITS if narrow else ACTIVATION_BITS)
        if request.activation_bits is None and population.updates is not None and not signed(population):
            chosen = IMAGE_BITS
        if any(
            p.source == population.name and _is_delta(request.lowered, p.target) for p in request.lowered.projections
        ):
            chosen = max(2, chosen - 1)  # differences take one bit more
        result[population.name] = READOUT_BITS if population.name in readouts else chosen
        result[population.name] = request.payload_of.get(population.name, result[population.name])
    for product in request.lowered.products:
        _fit_operands(request.lowered, product, result)
    return result


def _is_delta(lowered: Lowered, name: str) -> bool:
    return isinstance(lowered.population(name).model, DeltaCoded)


def _fit_operands(lowered: Lowered, product: RealProduct, bits: dict[str, int]) -> None:
    """Narrow the wider operand until the sum of products fits the state with the largest shift there is."""
    operands, out = product.subscripts.split("->")
    sizes = dict(zip("".join(operands.split(",")), (*product.left_view, *product.right_view), strict=True))
    terms = math.prod(size for letter, size in sizes.items() if letter not in out)
    room = REACH.bit_length() - 1 - LOWEST_EXPONENT - math.ceil(math.log2(terms))
    while True:
        width = {
            name: bits[name] - signed(lowered.population(name))
            for name in (product.left, product.right)
            if name in bits
        }
        wide = max(width, key=lambda name: width[name], default="")
        if sum(width.values()) <= room or not wide or bits[wide] <= LEAST_OPERAND_BITS:
            return
        bits[wide] -= 1


def graded_choices(request: Request, inputs: Mapping[str, InputCoding], bits: Mapping[str, int]) -> Choices:
    """Scales of graded messages and units of the sums they make; empty for networks without any."""
    lowered = request.lowered
    payloads = message_bits(request)
    unsigned = frozenset(p.name for p in lowered.populations if not signed(p))
    observed = clip_ranges(request.observed, request.histograms, request.clip, payloads, unsigned)
    message = message_codings(lowered, observed, payloads, inputs, HEADROOM)
    units = port_units(lowered, message, inputs, bits)
    message |= units.message
    share = 0.0 if request.threshold is None else request.threshold
    return Choices(
        inputs,
        units.unit,
        bits,
        own_exponent=units.exponent,
        message=message,
        thresholds=thresholds(lowered, message, request.observed, share),
    )


def graded_input(request: Request, name: str) -> InputCoding:
    """Coding of an input: as wide as other graded messages where the network has any. Raises UsageError ND305."""
    settings = dict(request.input_settings)
    if any(isinstance(p.model, GRADED) for p in request.lowered.populations):
        image = any(p.source == name and isinstance(p.synapses, RealConv) for p in request.lowered.projections)
        settings.setdefault("input_bits", request.activation_bits or (IMAGE_BITS if image else ACTIVATION_BITS))
    return input_coding(name, request.calibration, settings, request.target.widths.payload.value)
