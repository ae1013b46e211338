"""Exact event counts of a run from the messages it sent: for runners that record traces and count nothing themselves.

The oracle counts while it runs and does not use this module.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Counts
from ndeploy.neurons import Input
from ndeploy.realise import product_events, realise
from ndeploy.synapses import Conv, Synapses


def fan_out(synapses: Synapses) -> IntArray:
    """Synapses that leave each source neuron, (n_in,); for a convolution without listing its synapses."""
    if not isinstance(synapses, Conv):
        return synapses.fan_out()
    sides = []
    for axis in (0, 1):
        size, out = synapses.in_shape[axis + 1], synapses.out_shape[axis + 1]
        taps = np.arange(synapses.weight.shape[axis + 2]) * synapses.dilation[axis]
        read = (np.arange(out) * synapses.stride[axis] - synapses.padding[axis])[:, None] + taps
        sides.append(np.bincount(read[(read >= 0) & (read < size)], minlength=size))
    per_place = synapses.weight.shape[0] // synapses.groups * np.multiply.outer(sides[0], sides[1])
    return np.broadcast_to(per_place, synapses.in_shape).reshape(-1).astype(np.int64)


def count(program: Program, traces: Mapping[str, IntArray]) -> Counts:
    """traces: "spikes/<population>" of every population, (samples, steps, *shape), zero where it no longer updates."""
    live = {p.name: traces[f"spikes/{p.name}"] for p in program.populations}
    samples = len(next(iter(live.values())))
    flat = {name: message.reshape(samples, program.steps, -1) for name, message in live.items()}
    spikes = {name: np.count_nonzero(message, axis=(1, 2)).astype(np.int64) for name, message in flat.items()}
    made = {p.name: program.steps if p.updates is None else min(p.updates, program.steps) for p in program.populations}
    updates = {
        p.name: np.full(samples, 0 if isinstance(p.neuron, Input) else p.size * made[p.name], dtype=np.int64)
        for p in program.populations
    }
    operations = {
        p.name: (np.count_nonzero(flat[p.source], axis=1) @ fan_out(p.synapses)).astype(np.int64)
        for p in program.projections
    }
    embedded = {
        p.name: np.full(samples, p.neuron.operations(p.size) * made[p.name], dtype=np.int64)
        for p in program.populations
        if p.neuron.embedded
    }
    for product in program.products:
        left, right = flat[product.left], flat[product.right]
        last_left, last_right = made[product.left] - 1, made[product.right] - 1
        events = [
            [
                product_events(
                    product,
                    left[i, min(k, last_left)],
                    right[i, min(k, last_right)],
                    left_sent=k <= last_left,
                    right_sent=k <= last_right,
                )
                for k in range(program.steps)
            ]
            for i in range(samples)
        ]
        operations[product.name] = np.array([sum(e.synaptic_ops for e in one) for one in events], dtype=np.int64)
        if product.realisation == "embedded":
            embedded[product.name] = np.full(samples, realise(product).multiplies * program.steps, dtype=np.int64)
        else:
            updates[product.name] = np.array([sum(e.neuron_updates for e in one) for one in events], dtype=np.int64)
            spikes[product.name] = np.array([sum(e.spikes for e in one) for one in events], dtype=np.int64)
    return Counts(operations, spikes, updates, embedded)
