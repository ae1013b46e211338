"""What differs between a program and its reference, in numbers: where to look once the cause has a name."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from ndeploy.divergence import integer_mix
from ndeploy.divergence.causes import PROGRAM, REFERENCE
from ndeploy.divergence.exact import Exact
from ndeploy.divergence.hybrid import Hybrid
from ndeploy.divergence.signals import FloatArray
from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi, CubaLif, Synchrony

MOST = 4
"""Sentences a cause."""
ROUNDED = 1.0
"""Mantissas further from their real value than this are not rounded from it by any method here but those that give an
error of one weight to its neighbours (second-order rounding)."""


def of_float(
    program: Program, exact: Exact, hybrid: Hybrid, cause: str, populations: frozenset[str]
) -> tuple[str, ...]:
    """The largest deviations from the float network's own numbers."""
    found: list[tuple[float, str]] = []
    for q in program.projections:
        if q.target not in populations:
            continue
        if cause == "weights":
            gap = np.abs(exact.weights[q.name] - q.synapses.weight)
            at = _worst(gap)
            far = int((gap > ROUNDED).sum())
            text = (
                f"weight {list(at)} of '{q.name}' is {int(q.synapses.weight[at])}, its real value is "
                f"{exact.weights[q.name][at]:.2f}; {far} of {gap.size} are off by more than {ROUNDED:g}"
            )
            found.append((float(gap[at]), text))
        if cause == "delay":
            own, real = hybrid.lags(q, PROGRAM), hybrid.lags(q, REFERENCE)
            if not integer_mix.equal(own, real):
                text = f"messages over '{q.name}' are used {_few(own)} model steps later, in the reference {_few(real)}"
                found.append((1.0, text))
    for p in program.populations:
        e, n = exact.neurons.get(p.name), p.neuron
        if cause == "decay" and isinstance(n, Synchrony) and p.name in populations:
            what = f"what stays of the sum of '{p.name}' in a step"
            found.append(_gap(what, np.asarray(n.factor) / DECAY_ONE, exact.graded[p.name].model.decay, p.shape))
        if e is None or p.name not in populations:
            continue
        if cause == "decay" and isinstance(n, CubaLif | CubaLi):
            for what, keep, share in (
                ("current", DECAY_ONE - 1 - np.asarray(n.du), e.alpha),
                ("membrane", DECAY_ONE - np.asarray(n.dv), e.beta),
            ):
                found.append(
                    _gap(f"what stays of the {what} of '{p.name}' in a step", keep / DECAY_ONE, share, p.shape)
                )
        elif cause == "threshold":
            found.append(_gap(f"the threshold of '{p.name}' in state units", e.program_theta, e.theta, p.shape))
        elif cause == "bias" and isinstance(n, CubaLif | CubaLi):
            own_bias = np.asarray(n.bias) - float(e.tie)
            found.append(_gap(f"the bias of '{p.name}' in state units", own_bias, e.bias, p.shape))
            found.append(
                _gap(f"the bias of '{p.name}' in input units", np.asarray(n.input_bias), e.input_bias, p.shape)
            )
        elif cause == "compare":
            signs = {True: ">=", False: ">"}
            found.append((1.0, f"'{p.name}' spikes on {signs[e.program_ge]}, in the float network on {signs[e.ge]}"))
        elif cause == "reset" and isinstance(n, CubaLif):
            found.append(
                (
                    1.0,
                    f"'{p.name}': reset {n.reset}, refractory {n.refractory}; in the float network {e.reset}, "
                    f"{e.refractory}",
                )
            )
            found.append(
                _gap(f"what a spike of '{p.name}' takes off", np.asarray(n.reset_amount), e.reset_amount, p.shape)
            )
    found.sort(key=lambda entry: -entry[0])
    return tuple(text for size, text in found[:MOST] if size > 0)


def of_programs(program: Program, reference: Program, cause: str, populations: frozenset[str]) -> tuple[str, ...]:
    """Fields that differ, with both values where they differ most."""
    found: list[tuple[float, str]] = []
    theirs = {q.name: q for q in reference.projections}
    for q in program.projections:
        r = theirs[q.name]
        if q.target not in populations:
            continue
        if cause == "weights":
            gap = np.abs(q.synapses.weight.astype(np.int64) - r.synapses.weight.astype(np.int64))
            if gap.any():
                at = _worst(gap)
                text = (
                    f"{int((gap > 0).sum())} of {gap.size} weights of '{q.name}' differ; {list(at)} most: "
                    f"{int(q.synapses.weight[at])}, in the reference {int(r.synapses.weight[at])}"
                )
                found.append((float(gap[at]), text))
            if not integer_mix.same_places(q.synapses, r.synapses):
                found.append((1.0, f"synapses of '{q.name}' join other neurons"))
        if cause == "shift" and q.exponent != r.exponent:
            found.append((1.0, f"exponent of '{q.name}': {q.exponent}, in the reference {r.exponent}"))
        if cause == "delay" and (q.delay, q.delays is None) != (r.delay, r.delays is None):
            found.append((1.0, f"delay of '{q.name}': {q.delay} chip steps, in the reference {r.delay}"))
        elif cause == "delay" and q.delays is not None and r.delays is not None:
            late = int((q.delays != r.delays).sum())
            if late:
                found.append((1.0, f"{late} of {q.delays.size} synapses of '{q.name}' have another delay"))
    for p in program.populations:
        other = reference.population(p.name)
        if p.name not in populations:
            continue
        if cause == "delay" and p.offset != other.offset:
            found.append(
                (0.5, f"'{p.name}' updates from chip step {p.offset} on, in the reference from {other.offset}")
            )
        names = integer_mix.differing(p.neuron, other.neuron).get(cause, [])
        for field in fields(p.neuron):
            if field.name in names:
                own, real = getattr(p.neuron, field.name), getattr(other.neuron, field.name)
                if isinstance(own, str):
                    found.append((1.0, f"{field.name} of '{p.name}': {own}, in the reference {real}"))
                else:
                    found.append(_gap(f"{field.name} of '{p.name}'", np.asarray(own), np.asarray(real), p.shape))
    found.sort(key=lambda entry: -entry[0])
    return tuple(text for size, text in found[:MOST] if size > 0)


def _gap(
    what: str, own: npt.NDArray[np.float64] | npt.NDArray[np.int64], real: FloatArray, shape: tuple[int, ...]
) -> tuple[float, str]:
    """The largest difference, over the largest value, and a sentence. Arrays of another layout (a table by tick) are
    told by their own index; of other sizes than one another, by these."""
    a, b = _full(own, shape), _full(real, shape)
    if a.shape != b.shape:
        return 1.0, f"{what} holds {a.size} values, in the reference {b.size}"
    gap = np.abs(a - b)
    at = int(gap.argmax())
    scale = max(float(np.abs(b).max()), float(np.abs(a).max()), 1e-30)
    index = f"neuron {at}" if gap.ndim == 1 else f"at {list(_worst(gap))}"
    place = "" if gap.size == 1 or bool((gap == gap.flat[0]).all()) else f" ({index})"
    return float(gap.flat[at]) / scale, f"{what}: {a.flat[at]:.7g}, in the reference {b.flat[at]:.7g}{place}"


def _full(value: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """By neuron, flat; what is flat already, and what is no array of neurons, stays."""
    array = np.asarray(value, dtype=np.float64)
    size = math.prod(shape)
    if array.shape == (size,):
        return array
    try:
        return np.broadcast_to(array, shape).reshape(-1)
    except ValueError:
        return array


def _worst(gap: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))


def _few(lags: npt.NDArray[np.int64]) -> str:
    values = np.unique(lags)
    return str(int(values[0])) if values.size == 1 else f"{int(values[0])} to {int(values[-1])}"
