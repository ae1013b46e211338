"""Integer programs mixed of two: fields of one population or projection taken from the other, by cause."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from ndeploy.divergence.causes import Mix
from ndeploy.ir.lowered import RealSynapses
from ndeploy.ir.program import Program, Projection
from ndeploy.neurons import Neuron
from ndeploy.synapses import Synapses

FIELDS = {
    "du": "decay",
    "dv": "decay",
    "factor": "decay",
    "vth": "threshold",
    "vth_low": "threshold",
    "vth_high": "threshold",
    "bias": "bias",
    "input_bias": "bias",
    "gate_bias": "bias",
    "offset": "bias",
    "reset": "reset",
    "reset_amount": "reset",
    "reset_value": "reset",
    "refractory": "reset",
    "start": "bias",
    "bits": "activation",
    "signed": "activation",
    "emit_bits": "activation",
    "emit_shift": "activation",
}
"""The cause a neuron's field belongs to; every other field is part of how it makes its message, "arithmetic"."""


def equal(one: Any, other: Any) -> bool:
    """Whether two fields hold the same."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(np.asarray(one), np.asarray(other))) or bool(
            np.shape(one) != np.shape(other) and _broadcast_equal(one, other)
        )
    return bool(one == other)


def _broadcast_equal(one: Any, other: Any) -> bool:
    try:
        return bool((np.asarray(one) == np.asarray(other)).all())
    except ValueError:
        return False


def differing(one: Neuron, second: Neuron) -> dict[str, list[str]]:
    """Fields that differ, by cause; of the same kind of neuron.

    A threshold, or a bias, that differs by exactly one unit everywhere while nothing else of its kind does is what `>`
    instead of `>=` makes: "compare".
    """
    found: dict[str, list[str]] = {}
    for field in fields(one):
        if not equal(getattr(one, field.name), getattr(second, field.name)):
            found.setdefault(FIELDS.get(field.name, "arithmetic"), []).append(field.name)
    for name, other in (("vth", "bias"), ("bias", "threshold")):
        cause = FIELDS[name]
        if found.get(cause) == [name] and other not in found and _off_by_one(one, second, name):
            del found[cause]
            found["compare"] = [name]
    return found


def _off_by_one(one: Neuron, other: Neuron, name: str) -> bool:
    if not (hasattr(one, "vth") and hasattr(one, name)):
        return False
    gap = np.asarray(getattr(one, name), dtype=np.int64) - np.asarray(getattr(other, name), dtype=np.int64)
    return bool((gap == 1).all() or (gap == -1).all())


def mixed_neuron(own: Neuron, reference: Neuron, mix: Mix, name: str) -> Neuron:
    """The neuron with the fields of every mended cause taken from the reference."""
    taken: dict[str, Any] = {}
    for cause, names in differing(own, reference).items():
        if mix.mends(cause, name):
            taken |= {field: getattr(reference, field) for field in names}
    return replace(own, **taken) if taken else own


def program_differences(own: Program, reference: Program) -> dict[str, set[str]]:
    """Populations by cause at which two programs of the same structure differ."""
    found: dict[str, set[str]] = {}
    for p in own.populations:
        for cause in differing(p.neuron, reference.population(p.name).neuron):
            found.setdefault(cause, set()).add(p.name)
    theirs = {q.name: q for q in reference.projections}
    for q in own.projections:
        for cause in _projection_differences(q, theirs[q.name]):
            found.setdefault(cause, set()).add(q.target)
    products = {q.name: q for q in reference.products}
    for product in own.products:
        if product.exponent != products[product.name].exponent:
            found.setdefault("shift", set()).add(product.target)
        if product.delay != products[product.name].delay:
            found.setdefault("delay", set()).add(product.target)
    if own.period != reference.period or own.mode != reference.mode or _offsets(own) != _offsets(reference):
        late = {p.name for p in own.populations if p.offset != reference.population(p.name).offset}
        found.setdefault("delay", set()).update(late or {own.populations[-1].name})
    return found


def _offsets(program: Program) -> dict[str, int]:
    return {p.name: p.offset for p in program.populations}


def _projection_differences(own: Projection, reference: Projection) -> list[str]:
    found = []
    if not equal(own.synapses.weight, reference.synapses.weight) or not same_places(own.synapses, reference.synapses):
        found.append("weights")
    if own.exponent != reference.exponent:
        found.append("shift")
    if own.delay != reference.delay or not _same_delays(own, reference):
        found.append("delay")
    return found


def same_places(one: Synapses, other: Synapses | RealSynapses) -> bool:
    """Whether synapses of one layout lead from the same neurons to the same ones, whatever their weights."""
    names = [name for name in vars(one) if name != "weight"]
    return all(hasattr(other, name) and equal(getattr(one, name), getattr(other, name)) for name in names)


def _same_delays(own: Projection, reference: Projection) -> bool:
    none = np.zeros((), dtype=np.int64)
    return equal(none if own.delays is None else own.delays, none if reference.delays is None else reference.delays)


def mixed_program(own: Program, reference: Program, mix: Mix) -> Program:
    """The program with what is mended taken from the reference, a program of the same structure and units.

    Delays hang together over the whole program: where they are mended at all, offsets and the period are taken too.
    """
    whole = "delay" in mix.mended and mix.at is None
    theirs = {q.name: q for q in reference.projections}
    populations = []
    for p in own.populations:
        other = reference.population(p.name)
        offset = other.offset if whole else p.offset
        populations.append(replace(p, neuron=mixed_neuron(p.neuron, other.neuron, mix, p.name), offset=offset))
    projections = []
    for q in own.projections:
        r = theirs[q.name]
        taken: dict[str, Any] = {}
        if mix.mends("weights", q.target):
            taken |= {"synapses": r.synapses, "weight_bits": r.weight_bits, "sign": r.sign}
        if mix.mends("shift", q.target):
            taken["exponent"] = r.exponent
        if mix.mends("delay", q.target):
            taken |= {"delay": r.delay, "delays": r.delays}
        projections.append(replace(q, **taken))
    known = {q.name: q for q in reference.products}
    products = []
    for product in own.products:
        exponent = known[product.name].exponent if mix.mends("shift", product.target) else product.exponent
        delay = known[product.name].delay if mix.mends("delay", product.target) else product.delay
        products.append(replace(product, exponent=exponent, delay=delay))
    return replace(
        own,
        populations=tuple(populations),
        projections=tuple(projections),
        products=tuple(products),
        period=reference.period if whole else own.period,
        mode=reference.mode if whole else own.mode,
    )
