"""A Lowered network executed in float64, to compare with the float reference of its original."""

from __future__ import annotations

import numpy as np

from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import Accumulate, Compare, Join, Lowered, Or, Source
from ndeploy.passes.compose import to_matrix
from ndeploy.passes.order import topological


def run(lowered: Lowered, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """x: by input (steps, *shape). Returns what every population sends (readouts: what they hold), (steps, *shape)."""
    order = topological(lowered)
    matrices = {p.name: to_matrix(p.synapses) for p in lowered.projections}
    sent: dict[str, list[np.ndarray]] = {p.name: [] for p in order}
    state = {p.name: [np.zeros(p.shape) for _ in range(4)] for p in order}  # i, v, spiked, wait
    for k in range(lowered.steps):
        for p in order:
            total = np.zeros(int(np.prod(p.shape)))
            for q in lowered.into(p.name):
                if k - q.lag >= 0:
                    total = total + matrices[q.name] @ sent[q.source][k - q.lag].reshape(-1)
            for q in lowered.products:
                if q.target == p.name:
                    left, right = sent[q.left][k].reshape(q.left_view), sent[q.right][k].reshape(q.right_view)
                    total = total + q.scale * np.einsum(q.subscripts, left, right).reshape(-1)
            total = total.reshape(p.shape) + (0 if p.bias is None else p.bias)
            sent[p.name].append(_message(p.model, state[p.name], total, x.get(p.name, [None] * lowered.steps)[k]))
    return {name: np.stack(values) for name, values in sent.items()}


def _message(model, state, total, host):
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
