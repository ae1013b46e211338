"""Programs with one thing planted in them: what a faulty compiler, or a changed artifact, would give."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from compared_networks import with_neuron, with_projection

from ndeploy import wellformed
from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Population, Program, Projection, lag
from ndeploy.ir.result import RunResult
from ndeploy.neurons import CubaLi, CubaLif, Delta, Gate, Input, LayerNorm, SigmaDelta, Softmax, Synchrony

STATE = 1 << 23


@dataclass(frozen=True, eq=False)
class Planting:
    """kind: as in tables; cause: what a comparison is to name; program: None where no valid program has it, `refused`
    says what the artifact's reader says."""

    kind: str
    cause: str
    where: str
    program: Program | None
    refused: str = ""


def every(program: Program, clean: RunResult, whole: Collection[str], seed: int, most: int) -> list[Planting]:
    """At most `most` of each kind, drawn by the seed. clean: a run of the program with traces. whole: populations that
    come as integers: their units are the network's own."""
    found: dict[str, list[Planting]] = {}
    rng = np.random.default_rng(seed)
    for kind, cause, where, planted in _all(program, clean, whole, rng):
        try:
            wellformed.check(planted)
        except ValueError as error:
            found.setdefault(kind, []).append(Planting(kind, cause, where, None, str(error)))
            continue
        found.setdefault(kind, []).append(Planting(kind, cause, where, planted))
    drawn = []
    for plantings in found.values():
        order = rng.permutation(len(plantings))[:most]
        drawn += [plantings[i] for i in sorted(order)]
    return drawn


Made = Iterator[tuple[str, str, str, Program]]


def _all(program: Program, clean: RunResult, whole: Collection[str], rng: np.random.Generator) -> Made:
    for q in program.projections:
        yield from _weights(program, q, rng)
        yield from _delays(program, q, rng)
    for p in program.populations:
        n = p.neuron
        if isinstance(n, CubaLif):
            yield from _spiking(program, p, n)
        if isinstance(n, CubaLif | CubaLi):
            yield from _decays(program, p, n)
        if isinstance(n, CubaLif | CubaLi) and p.name not in whole:
            yield from _saturated(program, p, clean)
        if isinstance(n, Delta | SigmaDelta):
            yield "threshold", "threshold", p.name, with_neuron(program, p.name, vth=_whole(np.asarray(n.vth) * 5 // 4))
        if isinstance(n, Synchrony):
            factor = np.clip(np.asarray(n.factor) - DECAY_ONE // 50, 0, DECAY_ONE)
            yield "decay", "decay", p.name, with_neuron(program, p.name, factor=_whole(factor))
            table = n.table.copy()
            table[len(table) // 2 :] = table[len(table) // 2 :] * 7 // 8
            yield "gate or table", "arithmetic", f"table of {p.name}", with_neuron(program, p.name, table=table)
        yield from _graded(program, p)


def _weights(program: Program, q: Projection, rng: np.random.Generator) -> Made:
    if q.unit or not q.synapses.weight.any():
        return
    at = tuple(int(rng.integers(n)) for n in q.synapses.weight.shape)
    bit = int(rng.integers(q.weight_bits))
    weight = q.synapses.weight.copy()
    value = int(weight[at]) & (1 << q.weight_bits) - 1 ^ 1 << bit
    weight[at] = value - (1 << q.weight_bits) if value >> q.weight_bits - 1 else value
    synapses = replace(q.synapses, weight=weight)
    yield (
        "weight bit",
        "weights",
        f"bit {bit} of {q.name} {list(at)}",
        with_projection(program, q.name, synapses=synapses),
    )


def _delays(program: Program, q: Projection, rng: np.random.Generator) -> Made:
    yield "delay", "delay", f"{q.name}, late", with_projection(program, q.name, delay=q.delay + program.period)
    waits = lag(program, q.source, q.target, q.delay)
    shorter = q.delay - waits * program.period if waits else 1
    if 0 < shorter < q.delay:
        yield "skip delay dropped", "delay", q.name, with_projection(program, q.name, delay=shorter)
    if q.delays is not None:
        delays = q.delays.copy()
        at = tuple(int(rng.integers(n)) for n in delays.shape)
        delays[at] += program.period if delays[at] == 0 else -delays[at]
        yield "synapse's delay", "delay", f"{q.name} {list(at)}", with_projection(program, q.name, delays=delays)


def _spiking(program: Program, p: Population, n: CubaLif) -> Made:
    vth = np.asarray(n.vth, dtype=np.int64)
    higher = with_neuron(program, p.name, vth=_whole(np.minimum(vth + np.maximum(vth // 20, 64), STATE - 1)))
    yield "threshold", "threshold", p.name, higher
    yield "compare", "compare", p.name, with_neuron(program, p.name, vth=_whole(vth - 1))
    reset = "zero" if n.reset.startswith("subtract") else "subtract"
    yield "reset", "reset", p.name, with_neuron(program, p.name, reset=reset, reset_amount=_whole(vth), reset_value=0)


def _decays(program: Program, p: Population, n: CubaLif | CubaLi) -> Made:
    dv = np.asarray(n.dv, dtype=np.int64)
    faster = np.where(dv < DECAY_ONE // 2, dv + np.maximum(dv // 10, 16), dv - DECAY_ONE // 50)
    yield "decay", "decay", f"membrane of {p.name}", with_neuron(program, p.name, dv=_whole(faster))
    du = np.asarray(n.du, dtype=np.int64)
    if np.min(du) < DECAY_ONE - 1:
        yield "decay", "decay", f"current of {p.name}", with_neuron(program, p.name, du=_whole(du * 9 // 10))


def _saturated(program: Program, p: Population, clean: RunResult) -> Made:
    """The same network in a unit so fine that the membrane leaves its 24 bits."""
    n: Any = p.neuron
    largest = int(np.abs(clean.traces[f"state/{p.name}/v"]).max())
    if largest == 0:
        return
    vth = int(np.max(np.asarray(getattr(n, "vth", 0))))
    k = ((STATE - 1) // vth).bit_length() - 1 if vth > 0 else (STATE // largest).bit_length() + 1
    k = min([k, *(40 - q.exponent for q in program.projections if q.target == p.name)])
    into = [q for q in program.projections if q.target == p.name]
    if k < 1 or largest << k < STATE or any(x.target == p.name for x in program.products):
        return
    fields = [f for f in ("vth", "bias", "input_bias", "reset_amount", "reset_value", "emit_shift") if hasattr(n, f)]
    finer = {f: _whole(np.asarray(getattr(n, f), dtype=np.int64) << k) for f in fields if f != "emit_shift"}
    if "emit_shift" in fields and n.emit_bits:
        finer["emit_shift"] = n.emit_shift + k
    made = with_neuron(program, p.name, **finer)
    for q in into:
        made = with_projection(made, q.name, exponent=q.exponent + k)
    populations = (replace(x, scale=np.asarray(x.scale) * 2.0**-k) if x.name == p.name else x for x in made.populations)
    yield "saturation", "saturation", f"{p.name}, {k} bits finer", replace(made, populations=tuple(populations))


def _graded(program: Program, p: Population) -> Made:
    n: Any = p.neuron
    name = "input" if isinstance(n, Input) else "payload"
    bits = getattr(n, "bits", 0)
    if bits > 1 and n.message.bits > 1:
        yield "activation width", "activation", f"{name} of {p.name}", with_neuron(program, p.name, bits=bits - 1)
    if isinstance(n, Gate):
        multiplier = np.asarray(n.gate_multiplier, dtype=np.int64) * 7 // 8
        yield (
            "gate or table",
            "arithmetic",
            f"gate of {p.name}",
            with_neuron(program, p.name, gate_multiplier=_whole(multiplier)),
        )
    elif isinstance(n, LayerNorm | Softmax):
        multiplier = np.asarray(n.multiplier, dtype=np.int64) * 7 // 8
        if (multiplier > 0).all():
            made = with_neuron(program, p.name, multiplier=_whole(multiplier))
            yield "gate or table", "arithmetic", f"multiplier of {p.name}", made


def _whole(value: Any) -> Any:
    array = np.asarray(value, dtype=np.int64)
    return int(array) if array.ndim == 0 else array
