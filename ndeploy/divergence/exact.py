"""The real numbers behind a program: what every integer of it would be if nothing had to be rounded.

They are stated in the program's own units (of synaptic input, of state, of messages), so that any one of them can take
the place of its integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.divergence import integer_mix
from ndeploy.errors import NdeployError, UsageError
from ndeploy.fixed import DECAY_ONE
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import (
    GRADED,
    Accumulate,
    Compare,
    DeltaCoded,
    Held,
    Join,
    Lowered,
    Or,
    RealPopulation,
    RealProjection,
    Registered,
    Source,
)
from ndeploy.ir.network import Network
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import Compare as CompareNeuron
from ndeploy.neurons import CubaLi, CubaLif, Input, Neuron, Relay
from ndeploy.passes.along import by_row, columns
from ndeploy.passes.integerise import RESETS, threshold, tie_bias_is_exact

FloatArray = npt.NDArray[np.float64]
ROUNDS = (CubaLif, CubaLi)


@dataclass(frozen=True, eq=False)
class ExactNeuron:
    """Of a population whose state or input is compared with a threshold; arrays are flat, (neurons,), in state units
    (of a `Compare` neuron in units of its input).

    bias: added to the state; input_bias: to the input. ge, theta: how the network compares; program_ge, program_theta:
    how the program does (`>=` or `>` a number); tie: the program has `>=` as a bias of one unit and `>`.
    """

    alpha: FloatArray
    beta: FloatArray
    bias: FloatArray
    input_bias: FloatArray
    theta: FloatArray
    ge: bool
    program_theta: FloatArray
    program_ge: bool
    tie: bool
    reset: str
    reset_amount: FloatArray
    reset_value: FloatArray
    refractory: int


@dataclass(frozen=True, eq=False)
class ExactGraded:
    """Of a population of graded messages. model: its real function; scale: real value of one unit of its message; by
    port: unit, the real value of one unit of its input, and bias, in real values. All flat, (neurons,)."""

    model: Any
    scale: FloatArray
    unit: Mapping[str, FloatArray]
    bias: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Exact:
    """neurons: by population, for those that round something; integer: neurons of networks that come as integers;
    graded: of graded messages.
    weights: real mantissas by projection, in the layout of its weight; lags: model steps by synapse (one number, or in
    that layout)."""

    neurons: Mapping[str, ExactNeuron]
    integer: Mapping[str, Neuron]
    graded: Mapping[str, ExactGraded]
    weights: Mapping[str, FloatArray]
    lags: Mapping[str, npt.NDArray[np.int64]]


def lowered_like(network: Network, program: Program, meta: Mapping[str, Any]) -> Lowered:
    """The network lowered the way the program's compilation did it. Raises what lowering and scheduling raise."""
    from ndeploy import plugins
    from ndeploy.passes.long_delays import relay_long_delays
    from ndeploy.passes.lower import lower
    from ndeploy.passes.max_pool import expand_max_pools
    from ndeploy.passes.schedule import schedule

    target = plugins.target(str(meta.get("target", "")))
    payload = target.widths.payload.value
    coded = "sigma-delta" if meta.get("coding") else "none"
    lowered = lower(expand_max_pools(network), program.steps, graded=payload is None or payload > 1, coding=coded)
    given = meta.get("options")
    options = given if isinstance(given, Mapping) else {}
    attention, mode = str(options.get("attention", "parallel")), str(options.get("mode", "auto"))
    planned = schedule(lowered, attention=attention, mode=mode)
    stored = target.widths.delay.value
    return relay_long_delays(lowered, planned, None if stored is None else stored + 1)[0]


def why_not(lowered: Lowered, program: Program) -> str:
    """Why the program's integers cannot be set beside the network's real numbers; "" where they can."""
    known = {p.name: p for p in lowered.populations}
    for p in program.populations:
        if p.name not in known:
            return f"population '{p.name}' is not in the float network"
        if not _matches(known[p.name], p):
            return f"a '{p.neuron.kind}' neuron ('{p.name}') has no exact counterpart here"
    real = {p.name: p for p in lowered.projections}
    for q in program.projections:
        if q.name not in real:
            return f"projection '{q.name}' is not in the float network"
        r = real[q.name]
        if (r.source, r.target) != (q.source, q.target) or r.synapses.weight.shape != q.synapses.weight.shape:
            return f"projection '{q.name}' has another layout in the float network"
        if not integer_mix.same_places(q.synapses, r.synapses):
            return f"projection '{q.name}' joins other neurons in the float network"
    if {p.name for p in lowered.projections} != {q.name for q in program.projections}:
        return "the float network has projections that the program lacks"
    if {p.name for p in lowered.products} != {q.name for q in program.products}:
        return "the float network has other products than the program"
    return ""


def _matches(real: RealPopulation, p: Population) -> bool:
    model, neuron = real.model, p.neuron
    if real.shape != p.shape:
        return False
    if isinstance(model, Source):
        return isinstance(neuron, Input)
    if isinstance(model, Neuron):
        return type(model) is type(neuron)
    if isinstance(model, Accumulate):
        return isinstance(neuron, CubaLi)
    if isinstance(model, Compare | Or):
        return isinstance(neuron, CompareNeuron)
    if isinstance(model, Join):
        return isinstance(neuron, Relay)
    if isinstance(model, GRADED):
        return not isinstance(neuron, Input)
    return isinstance(model, DiscreteNeuron) and isinstance(neuron, CubaLif | CubaLi | CompareNeuron)


def exact(lowered: Lowered, program: Program) -> Exact:
    """The real numbers of a program for which `why_not` is silent.

    Raises UsageError ND651 where the program's units are no numbers one can divide by.
    """
    neurons: dict[str, ExactNeuron] = {}
    integer: dict[str, Neuron] = {}
    graded: dict[str, ExactGraded] = {}
    for p in program.populations:
        real = lowered.population(p.name)
        if isinstance(real.model, Neuron):
            integer[p.name] = real.model
        elif isinstance(real.model, GRADED):
            graded[p.name] = _graded(lowered, real, p, program)
        elif isinstance(real.model, DiscreteNeuron | Accumulate | Compare):
            neurons[p.name] = _neuron(real, p, _unit(lowered, program, p), program.steps)
    weights, lags = {}, {}
    for r in lowered.projections:
        q = next(x for x in program.projections if x.name == r.name)
        passes = r.unit and isinstance(lowered.population(r.target).model, GRADED)
        weights[q.name] = np.asarray(r.synapses.weight) if passes else _weights(r, q, program)
        extra = np.zeros((), dtype=np.int64) if r.delays is None else np.asarray(r.delays, dtype=np.int64)
        if r.integer is not None and r.integer.delays is not None and r.delays is None:
            extra = np.asarray(r.integer.delays, dtype=np.int64)
        lags[q.name] = r.lag + extra
    for what, values in (("projection", weights), ("population", {n: e.theta for n, e in neurons.items()})):
        for name, value in values.items():
            if np.isnan(value).any() or (what == "projection" and not np.isfinite(value).all()):
                raise UsageError(
                    "ND651",
                    f"{what} '{name}': its scale in the artifact is no positive number",
                    help="compile the model again",
                )
    return Exact(neurons, integer, graded, weights, lags)


def message_unit(p: Population) -> FloatArray:
    """Real value of one unit of a message."""
    if isinstance(p.neuron, CubaLi):
        return np.asarray(float(np.asarray(p.scale).flat[0]) * 2.0**p.neuron.emit_shift)
    if isinstance(p.neuron, CubaLif | CompareNeuron):
        return np.ones(())
    return np.asarray(p.scale, dtype=np.float64)


def _weights(r: RealProjection, q: Projection, program: Program) -> FloatArray:
    if r.integer is not None:
        return np.asarray(r.synapses.weight, dtype=np.float64)
    source, target = program.population(q.source), program.population(q.target)
    per_message = columns(r.synapses, message_unit(source), source.shape)
    per_unit = by_row(r.synapses, np.asarray(q.scale, dtype=np.float64), target.shape)
    with np.errstate(all="ignore"):
        return np.asarray(r.synapses.weight * per_message / per_unit, dtype=np.float64)


def _unit(lowered: Lowered, program: Program, p: Population, port: str = "in") -> FloatArray:
    """Real value of one unit of the population's input, as its projections state it."""
    model = lowered.population(p.name).model
    if isinstance(model, Registered | Held | DeltaCoded):
        return message_unit(p)
    passes = {r.name for r in lowered.projections if r.unit and isinstance(model, GRADED)}
    into = [q for q in program.projections if (q.target, q.port) == (p.name, port)]
    for q in into:
        if q.name not in passes:
            return np.asarray(np.asarray(q.scale, dtype=np.float64) * 2.0**-q.exponent)
    for q in into:
        target, source, _ = q.synapses.to_coo()
        own = program.population(q.source)
        unit = np.ones(p.size)
        unit[target] = np.broadcast_to(message_unit(own), own.shape).reshape(-1)[source]
        return unit.reshape(p.shape)
    for product in program.products:
        if (product.target, product.port) == (p.name, port):
            scale = next(r.scale for r in lowered.products if r.name == product.name)
            return np.asarray(_product_unit(product, program) * scale * 2.0**product.exponent).reshape(p.shape)
    return np.ones(())


def _product_unit(product: Product, program: Program) -> FloatArray:
    """Real value of one scalar product by element of the result; of messages whose units are tied along the sum."""
    sides = []
    for name, view in ((product.left, product.left_view), (product.right, product.right_view)):
        p = program.population(name)
        sides.append(np.broadcast_to(message_unit(p), p.shape).reshape(view))
    ones = np.einsum(product.subscripts, np.ones(product.left_view), np.ones(product.right_view))
    return np.asarray(np.einsum(product.subscripts, *sides) / ones)


def _graded(lowered: Lowered, real: RealPopulation, p: Population, program: Program) -> ExactGraded:
    def flat(value: npt.ArrayLike) -> FloatArray:
        return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), p.shape)).reshape(-1)

    biases = {"in": real.bias, **real.biases}
    bias = {port: flat(0.0 if biases.get(port) is None else biases[port]) for port in p.neuron.ports}  # type: ignore[arg-type]
    unit = {port: flat(_unit(lowered, program, p, port)) for port in p.neuron.ports}
    return ExactGraded(real.model, flat(p.scale), unit, bias)


def _neuron(real: RealPopulation, p: Population, unit: FloatArray, steps: int) -> ExactNeuron:
    neuron, model = p.neuron, real.model
    bias = np.zeros(()) if real.bias is None else real.bias

    def flat(value: npt.ArrayLike) -> FloatArray:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=np.float64), p.shape)).reshape(-1)

    zero, one = flat(0.0), flat(1.0)
    if isinstance(model, Compare):
        with np.errstate(all="ignore"):
            theta, entering = flat(model.threshold / unit), flat(bias / unit)
        return _compared(p, steps, theta, model.ge, zero, zero, zero, entering)
    if isinstance(model, Accumulate):
        with np.errstate(all="ignore"):
            state_bias = flat(bias / np.asarray(p.scale, dtype=np.float64))
        return ExactNeuron(zero, one, state_bias, zero, zero, False, zero, False, False, "none", zero, zero, 0)
    assert isinstance(model, DiscreteNeuron)
    gain = np.asarray(model.input_gain * model.gain, dtype=np.float64)
    with np.errstate(all="ignore"):
        if isinstance(neuron, CompareNeuron):
            theta = flat((np.asarray(model.threshold) - model.bias - bias * gain) / (gain * unit))
            return _compared(p, steps, theta, model.compare == "ge", zero, zero, zero, zero)
        assert isinstance(neuron, CubaLif | CubaLi)
        state = np.asarray(p.scale, dtype=np.float64)
        if (np.asarray(neuron.du) == DECAY_ONE - 1).all():
            state_bias, entering = flat(bias * gain / state + model.bias / state), zero
        else:
            # the input's unit is 2^shift state units
            state_bias, entering = flat(model.bias / state), flat(bias * gain / (state * 2.0**neuron.shift))
        alpha, beta = flat(model.alpha), flat(model.beta)
        if isinstance(neuron, CubaLi):
            return ExactNeuron(
                alpha, beta, state_bias, entering, zero, False, zero, False, False, "none", zero, zero, 0
            )
        amount = flat(0.0 if model.reset_amount is None else np.asarray(model.reset_amount) / state)
        value = flat(0.0 if model.v_reset is None else np.asarray(model.v_reset) / state)
        theta = flat(np.asarray(model.threshold) / state)
    reset = RESETS[model.reset]
    return _compared(
        p,
        steps,
        theta,
        model.compare == "ge",
        alpha,
        beta,
        state_bias,
        entering,
        reset,
        amount,
        value,
        model.refractory,
    )


def _compared(
    p: Population,
    steps: int,
    theta: FloatArray,
    ge: bool,
    alpha: FloatArray,
    beta: FloatArray,
    bias: FloatArray,
    input_bias: FloatArray,
    reset: str = "none",
    amount: FloatArray | None = None,
    value: FloatArray | None = None,
    refractory: int = 0,
) -> ExactNeuron:
    """With how the program compares, told from its integer threshold: the one that the network's own way would give,
    or the one that the other way would."""
    neuron: Any = p.neuron
    vth = np.broadcast_to(np.asarray(neuron.vth, dtype=np.int64), p.shape).reshape(-1)
    zero = np.zeros(theta.shape)
    tie = False
    if ge and isinstance(neuron, CubaLif):
        own = np.broadcast_to(np.asarray(neuron.bias, dtype=np.int64), p.shape).reshape(-1)
        # where the compiler makes >= by a unit of bias; methods may add to a bias besides, but to few
        made = tie_bias_is_exact(neuron.dv, neuron.du, steps, neuron.shift)
        made = made and bool((np.rint(theta) % (1 << neuron.shift) == 0).all())
        lacks = bool((own == np.rint(bias)).all())
        tie = bool((vth == np.rint(theta)).all()) and (bool((own == np.rint(bias) + 1).all()) or (made and not lacks))
    program_ge = ge
    other = bool((vth == threshold(theta, not ge)).all()) and not bool((vth == threshold(theta, ge)).all())
    if other and not tie:
        program_ge = not ge
    program_theta = np.asarray(vth + float(program_ge and not tie), dtype=np.float64)
    return ExactNeuron(
        alpha,
        beta,
        bias,
        input_bias,
        theta,
        ge,
        program_theta,
        program_ge,
        tie,
        reset,
        zero if amount is None else amount,
        zero if value is None else value,
        refractory,
    )


def read(network: bytes | None) -> Network:
    """The float network an artifact keeps. Raises UsageError ND709 where it keeps none, and what reading raises."""
    from ndeploy.graph.read import read_nir

    if network is None:
        raise UsageError(
            "ND709",
            "the artifact does not keep the float network it was compiled from",
            help="compile the model again, or compare with another artifact or a recorded trace",
        )
    return read_nir(network)


def beside(network: Network, program: Program, meta: Mapping[str, Any]) -> tuple[Exact | None, str]:
    """The real numbers of the program, or None and why there are none."""
    try:
        lowered = lowered_like(network, program, meta)
    except NdeployError as error:
        return None, f"the float network cannot be lowered again: {error.message}"
    reason = why_not(lowered, program)
    return (None, reason) if reason else (exact(lowered, program), "")
