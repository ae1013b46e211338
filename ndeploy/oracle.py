"""The oracle: what a Program computes, chip step by chip step, slow and obvious.

It follows docs/program.md word for word and shares nothing with the simulator but the neuron models' definitions and
the integer arithmetic: synapses are summed from their list of (target, source, weight), messages travel in flight.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray, shift
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.ir.result import Counts, RunResult
from ndeploy.neurons import Input
from ndeploy.oracle_activity import activity_of
from ndeploy.realise import product_events, realise


def deliver(projection: Projection, message: IntArray) -> dict[int, IntArray]:
    """Input that a message (n_in,) adds to the target, by chip steps of travel: {delay: (n_out,)}."""
    target, source, index = projection.synapses.to_coo()
    weight = projection.synapses.weight.reshape(-1).astype(np.int64)[index]
    extra = np.zeros_like(index) if projection.delays is None else projection.delays.reshape(-1)[index]
    arriving: dict[int, IntArray] = {}
    for more in np.unique(extra):
        total = np.zeros(projection.synapses.n_out, dtype=np.int64)
        here = extra == more
        np.add.at(total, target[here], weight[here] * message[source[here]])
        arriving[projection.delay + int(more)] = shift(total, projection.exponent)
    return arriving


def multiply(product: Product, left: IntArray, right: IntArray) -> IntArray:
    """The flat input a product adds to its target."""
    result = np.einsum(product.subscripts, left.reshape(product.left_view), right.reshape(product.right_view))
    return (np.asarray(result) >> product.exponent).reshape(-1)


def updates_of(program: Program, population: Population) -> int:
    """How many updates the population makes in a sample: model steps 0 .. this - 1."""
    return program.steps if population.updates is None else min(population.updates, program.steps)


def run_sample(
    program: Program, messages: dict[str, IntArray]
) -> tuple[dict[str, IntArray], dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Run one sample from the initial state.

    messages: for each input population, int64 (steps, *shape). Returns (traces, events, overflow): traces as in
    `RunResult` without the sample axis; events {"synaptic_ops" | "spikes" | "neuron_updates" | "embedded_ops":
    {name: count}}; overflow {population: {event: count}}.
    """
    populations = {p.name: p for p in program.populations}
    state = {p.name: p.neuron.initial(p.shape) for p in program.populations}
    # in_flight[chip step][(population, port)]: input that arrives at that chip step
    in_flight: dict[int, dict[tuple[str, str], IntArray]] = defaultdict(dict)
    waiting = {(p.name, port): np.zeros(p.size, dtype=np.int64) for p in program.populations for port in p.neuron.ports}
    record: dict[str, list[IntArray]] = defaultdict(list)
    events: dict[str, dict[str, int]] = {
        "synaptic_ops": dict.fromkeys([x.name for x in program.projections] + [x.name for x in program.products], 0),
        "spikes": {p.name: 0 for p in program.populations},
        "neuron_updates": {p.name: 0 for p in program.populations},
        "embedded_ops": {p.name: 0 for p in program.populations if p.neuron.embedded},
    }
    overflow: dict[str, dict[str, int]] = {}

    def send(step: int, target: str, port: str, value: IntArray) -> None:
        slot = in_flight[step]
        slot[target, port] = slot.get((target, port), np.zeros_like(value)) + value

    sent: dict[tuple[str, int], IntArray] = {}  # (population, model step) -> flat message, for products
    last = max(p.offset for p in program.populations) + (program.steps - 1) * program.period
    for t in range(last + 1):
        for key, value in in_flight.pop(t, {}).items():
            waiting[key] = waiting[key] + value
        messages_now: dict[str, IntArray] = {}
        for p in program.populations:
            k, phase = divmod(t - p.offset, program.period)
            if phase or not 0 <= k < program.steps:
                continue
            if k >= updates_of(program, p):
                # it stands still: shown, not updated, and nothing is sent
                record[f"spikes/{p.name}"].append(np.zeros(p.shape, dtype=np.int64))
                for name in p.neuron.state:
                    record[f"state/{p.name}/{name}"].append(state[p.name][name])
                continue
            if isinstance(p.neuron, Input):
                message = messages[p.name][k]
            else:
                inputs = {port: waiting[p.name, port].reshape(p.shape) for port in p.neuron.ports}
                for event, n in p.neuron.overflow(state[p.name], inputs).items():
                    if n:
                        where = overflow.setdefault(p.name, {})
                        where[event] = where.get(event, 0) + n
                state[p.name], message = p.neuron.step(state[p.name], inputs)
                for port in p.neuron.ports:
                    waiting[p.name, port] = np.zeros(p.size, dtype=np.int64)
                events["neuron_updates"][p.name] += p.size
                if p.neuron.embedded:
                    events["embedded_ops"][p.name] += p.neuron.operations(p.size)
            messages_now[p.name] = message.reshape(-1)
            sent[p.name, k] = message.reshape(-1)
            record[f"spikes/{p.name}"].append(message)
            for name in p.neuron.state:
                record[f"state/{p.name}/{name}"].append(state[p.name][name])
            events["spikes"][p.name] += int(np.count_nonzero(message))
        for projection in program.projections:
            if projection.source in messages_now:
                message = messages_now[projection.source]
                for delay, value in deliver(projection, message).items():
                    send(t + delay, projection.target, projection.port, value)
                events["synaptic_ops"][projection.name] += int(projection.synapses.fan_out()[message != 0].sum())
        for product in program.products:
            # both operands of model step k must be there: the later of the two triggers it
            start = max(populations[product.left].offset, populations[product.right].offset)
            k, phase = divmod(t - start, program.period)
            if phase or not 0 <= k < program.steps:
                continue
            # an operand that is sent no more takes part as it was last
            last_left = updates_of(program, populations[product.left]) - 1
            last_right = updates_of(program, populations[product.right]) - 1
            left, right = sent[product.left, min(k, last_left)], sent[product.right, min(k, last_right)]
            send(t + product.delay, product.target, product.port, multiply(product, left, right))
            counted = product_events(product, left, right, left_sent=k <= last_left, right_sent=k <= last_right)
            events["synaptic_ops"][product.name] += counted.synaptic_ops
            if product.realisation == "embedded":
                macs = events["embedded_ops"].get(product.name, 0)
                events["embedded_ops"][product.name] = macs + realise(product).multiplies
            else:
                updates = events["neuron_updates"].get(product.name, 0)
                events["neuron_updates"][product.name] = updates + counted.neuron_updates
                spikes = events["spikes"].get(product.name, 0)
                events["spikes"][product.name] = spikes + counted.spikes
    return {name: np.stack(values) for name, values in record.items()}, events, overflow


def run(program: Program, messages: dict[str, IntArray], *, strict: bool = False, activity: bool = False) -> RunResult:
    """Run samples one after another, each from the initial state.

    messages: by input population, int64 (samples, steps, *shape). activity: also answer which neuron did what.
    Raises RefusedError ND302 if `strict` and a value leaves its declared width.
    """
    from ndeploy.decode import outputs_and_predictions

    began = time.perf_counter()
    samples = len(next(iter(messages.values())))
    runs = [run_sample(program, {name: m[i] for name, m in messages.items()}) for i in range(samples)]
    traces = {key: np.stack([r[0][key] for r in runs]) for key in runs[0][0]}
    overflow: dict[str, dict[str, int]] = {}
    for _, _, one in runs:
        for population, counts in one.items():
            where = overflow.setdefault(population, {})
            for event, n in counts.items():
                where[event] = where.get(event, 0) + n
    if strict and overflow:
        population, counts = next(iter(overflow.items()))
        event, n = next(iter(counts.items()))
        raise RefusedError(
            "ND302",
            f"population '{population}': {event} {n} times",
            help="lower the weight scale, or calibrate with data that reach the largest currents",
        )

    def collect(kind: str) -> dict[str, IntArray]:
        return {name: np.array([r[1][kind][name] for r in runs], dtype=np.int64) for name in runs[0][1][kind]}

    outputs, predictions = outputs_and_predictions(program, traces)
    return RunResult(
        outputs=outputs,
        predictions=predictions,
        counts=Counts(collect("synaptic_ops"), collect("spikes"), collect("neuron_updates"), collect("embedded_ops")),
        chip_steps=program.chip_steps_per_sample,
        seconds=time.perf_counter() - began,
        traces=traces,
        overflow=overflow,
        activity=activity_of(program, traces) if activity else None,
    )
