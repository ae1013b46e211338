"""A Lowered network executed in float64, to compare with the float reference of its original."""

from __future__ import annotations

import numpy as np

from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import (
    Accumulate,
    Compare,
    DeltaCoded,
    Gated,
    Graded,
    Held,
    Join,
    Lowered,
    Normed,
    Or,
    Registered,
    Softmaxed,
    Source,
    Synchronised,
)
from ndeploy.passes.compose import to_matrix
from ndeploy.passes.order import topological


def run(
    lowered: Lowered, x: dict[str, np.ndarray], thresholds: dict[str, np.ndarray | float] | None = None
) -> dict[str, np.ndarray]:
    """x: by input (steps, *shape). thresholds: of delta-coded populations, in real values; 0 where none is given.

    Returns what every population sends (readouts: what they hold), (steps, *shape); 0 after its last update.
    """
    order = topological(lowered)
    matrices = {p.name: to_matrix(p.synapses) for p in lowered.projections}
    sent: dict[str, list[np.ndarray]] = {p.name: [] for p in order}
    updates = {p.name: lowered.steps if p.updates is None else p.updates for p in order}
    state = {p.name: _initial(p) for p in order}

    def operand(name: str, k: int, view: tuple[int, ...]) -> np.ndarray:
        return sent[name][min(k, updates[name] - 1)].reshape(view)  # latched

    for k in range(lowered.steps):
        for p in order:
            if k >= updates[p.name]:
                sent[p.name].append(np.zeros(p.shape))
                continue
            totals = {"in": np.zeros(p.shape) + (0 if p.bias is None else p.bias)}
            for port, bias in p.biases.items():
                totals[port] = np.zeros(p.shape) + bias
            for q in lowered.into(p.name):
                if k - q.lag >= 0:
                    value = matrices[q.name] @ sent[q.source][k - q.lag].reshape(-1)
                    totals[q.port] = totals.get(q.port, 0) + value.reshape(p.shape)
            for q in lowered.products:
                if q.target == p.name:
                    left, right = operand(q.left, k, q.left_view), operand(q.right, k, q.right_view)
                    totals["in"] = totals["in"] + q.scale * np.einsum(q.subscripts, left, right).reshape(p.shape)
            host = x.get(p.name, [None] * lowered.steps)[k]
            threshold = (thresholds or {}).get(p.name, 0.0)
            sent[p.name].append(_message(p.model, state[p.name], totals, host, threshold))
    return {name: np.stack(values) for name, values in sent.items()}


def _initial(population) -> list[np.ndarray]:
    model = population.model
    if isinstance(model, Synchronised):
        return [model.alpha, model.beta]
    if isinstance(model, Registered | Held | DeltaCoded):
        return [np.broadcast_to(model.start, population.shape)]
    return [np.zeros(population.shape) for _ in range(4)]  # i, v, spiked, wait


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _function(name: str, x: np.ndarray) -> np.ndarray:
    return {"identity": x, "relu": np.maximum(x, 0), "silu": x * _sigmoid(x)}[name]


def _graded(model, state, totals, threshold):
    """What a population of a graded model sends; None for any other model."""
    total = totals["in"]
    if isinstance(model, Graded):
        return _function(model.function, total)
    if isinstance(model, Gated):
        return total * _sigmoid(totals["gate"])
    if isinstance(model, Normed):
        viewed = np.moveaxis(total.reshape(model.view), model.axis, -1)
        mean, variance = viewed.mean(-1, keepdims=True), viewed.var(-1, keepdims=True)
        normed = (viewed - mean) / np.sqrt(variance + model.epsilon) * model.gain + model.offset
        return np.moveaxis(normed, -1, model.axis).reshape(total.shape)
    if isinstance(model, Softmaxed):
        viewed = total.reshape(model.view)
        powers = np.exp(viewed - viewed.max(-1, keepdims=True))
        return (powers / powers.sum(-1, keepdims=True)).reshape(total.shape)
    if isinstance(model, Synchronised):
        state[0] = model.decay * state[0] + totals["left"] * totals["right"]
        state[1] = model.decay * state[1] + 1
        return state[0] / np.sqrt(state[1])
    if isinstance(model, Registered):
        held, state[0] = state[0], np.zeros_like(total)
        return total + held
    if isinstance(model, Held):
        state[0] = state[0] + total
        return state[0]
    if isinstance(model, DeltaCoded):
        change = total - state[0]
        change = np.where(np.abs(change) >= threshold, change, 0)
        state[0] = state[0] + change
        return change
    return None


def _message(model, state, totals, host, threshold):
    total = totals["in"]
    if isinstance(model, Source):
        return np.asarray(host, dtype=np.float64)
    if isinstance(model, Join):
        return total
    if isinstance(model, Or):
        return (total > 0).astype(float)
    if isinstance(model, Compare):
        return (total >= model.threshold if model.ge else total > model.threshold).astype(float)
    if isinstance(model, Accumulate):
        state[1] = state[1] + total
        return total
    graded = _graded(model, state, totals, threshold)
    if graded is not None:
        return graded
    assert isinstance(model, DiscreteNeuron)
    i, v, spiked, wait = state
    i = model.alpha * i + model.input_gain * total
    v = model.beta * v + model.gain * i + model.bias
    if not model.spiking:
        state[:2] = [i, v]
        return v
    if model.reset == "delayed-zero":
        v = np.where(spiked > 0, model.v_reset, v)
    elif model.reset == "delayed-subtract":
        v = v - spiked * model.reset_amount
    v = np.where(wait > 0, model.v_reset, v)
    spike = (v >= model.threshold if model.compare == "ge" else v > model.threshold).astype(float)
    if model.reset == "zero":
        v = np.where(spike > 0, model.v_reset, v)
    elif model.reset == "subtract":
        v = v - spike * model.reset_amount
    state[:] = [i, v, spike, np.where(spike > 0, model.refractory, np.maximum(wait - 1, 0))]
    return spike
