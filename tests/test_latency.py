"""Time against a slow walk over the chip's clock: sample after sample, chip step by chip step, neuron by neuron."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from random_programs import Case, cases
from test_ledger import SETTINGS, links, meshed, run
from two_layers import price

from ndeploy import oracle
from ndeploy.check_graded import updates_of
from ndeploy.energy.latency import timing
from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program
from ndeploy.neurons import Compare, Input
from ndeploy.place import Placed
from ndeploy.realise import index_sizes, realise
from ndeploy.target import PriceTable

TIMES = {
    "synaptic-op.dense": 1.0,
    "synaptic-op.sparse": 2.0,
    "synaptic-op.conv": 3.0,
    "axon-in": 5.0,
    "neuron-update": 7.0,
    "spike": 11.0,
    "embedded-op": 0.25,
    "barrier": 100.0,
}
TABLE = PriceTable("times", "round times", (), tuple(price(name, value, "s") for name, value in TIMES.items()))
PROCESSOR = -1


def later(program: Program, product: Product) -> int:
    return max(program.population(product.left).offset, program.population(product.right).offset)


def emitted(program: Program, traces: dict[str, IntArray], sample: int) -> dict[tuple[str, int], list[float]]:
    """By sender and neuron, the chip steps of the sample (from its start) in which it sends; a streamed product's
    are spread evenly over its chip steps, as fractions: (chip step, share)."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    on = {p.name: traces[f"spikes/{p.name}"][sample].reshape(program.steps, -1) != 0 for p in program.populations}
    for p in program.populations:
        name = f"{p.name}/embedded" if p.neuron.embedded else p.name
        for k, n in zip(*np.nonzero(on[p.name]), strict=True):
            found[name, int(n)].append(p.offset + int(k) * program.period + p.neuron.embedded)
    for x in program.products:
        start = later(program, x) + 1
        sizes = index_sizes(x)
        for k in range(program.steps):
            at = start + k * program.period
            if x.realisation == "embedded":
                for n in range(program.population(x.target).size):
                    found[f"{x.name}/embedded", n].append(at)
                continue
            held = [on[o][min(k, updates_of(program, program.population(o)) - 1)] for o in (x.left, x.right)]
            if x.realisation == "streamed":
                for side, o in (("left", x.left), ("right", x.right)):
                    for n in np.flatnonzero(on[o][k]):
                        found[f"{x.name}/{side}", int(n)].append(at)
            letters = x.subscripts.split("->")[0].split(",")
            keep = {letter: size for letter, size in sizes.items() if x.realisation != "streamed" or letter != x.stream}
            for flat in np.ndindex(*sizes.values()):
                where = dict(zip(sizes, flat, strict=True))
                both = True
                for values, view, of in zip(held, (x.left_view, x.right_view), letters, strict=True):
                    both &= bool(values.reshape(view)[tuple(where[c] for c in of)])
                if both:
                    neuron = int(np.ravel_multi_index([where[c] for c in keep], list(keep.values()))) if keep else 0
                    found[f"{x.name}/neurons", neuron].append(at + (x.realisation == "streamed"))
    return found


def spread_of(program: Program, unit: str) -> int:
    """Chip steps over which what a unit does in a model step is spread."""
    x = next((x for x in program.products if unit.startswith(f"{x.name}/")), None)
    return index_sizes(x)[x.stream] if x is not None and x.realisation == "streamed" else 1


def walk(program: Program, traces: dict[str, IntArray], placed: Placed) -> tuple[float, float]:
    """(latency, interval) at nominal times. Samples start one after another until the chip is in its rhythm."""
    samples = len(next(iter(traces.values())))
    each = program.chip_steps_per_sample
    window = program.steps * program.period + program.latency
    before = -(-window // each) + 2  # samples that have started by the one watched: no later one reaches further
    where = {(s.unit, int(n)): s.core for s in placed.slices for n in s.neurons()}
    slot = {(s.unit, int(n)): i for i, s in enumerate(placed.slices) for n in s.neurons()}
    kind = {j.name: f"synaptic-op.{j.synapses.kind}" for j in program.projections}
    fans: dict[tuple[str, int], list[tuple[int, str, int]]] = defaultdict(list)
    for name, synapses in links(program):
        onto: dict[tuple[str, int, int], int] = defaultdict(int)
        for source, neuron, unit, target in synapses:
            onto[source, neuron, slot[unit, target]] += 1
        for (source, neuron, number), count in onto.items():
            core = placed.slices[number].core
            fans[source, neuron].append((core, kind.get(name, "synaptic-op.sparse"), count))
    hosts = {p.name for p in program.populations if isinstance(p.neuron, Input)}
    one: dict[tuple[int, int], float] = defaultdict(float)  # (core, chip step since the sample's start): seconds
    updated: dict[tuple[int, int], float] = defaultdict(float)
    for sample in range(samples):
        for (source, neuron), times in emitted(program, traces, sample).items():
            over = spread_of(program, source)
            for at in times:
                for c in range(over):
                    if (source, neuron) in where and source not in hosts:
                        one[where[source, neuron], int(at) + c] += TIMES["spike"] / over / samples
                    for core, event, count in fans[source, neuron]:
                        one[core, int(at) + c] += (TIMES["axon-in"] + TIMES[event] * count) / over / samples
    for (unit, _), core in where.items():
        p = next((p for p in program.populations if p.name == unit), None)
        over, start = spread_of(program, unit), 0
        updates = program.steps
        if p is not None:
            start, updates = p.offset, updates_of(program, p)
        else:
            x = next(x for x in program.products if unit.startswith(f"{x.name}/"))
            start = later(program, x) + 1 + (over > 1 or bool(x.stream)) * unit.endswith("/neurons")
        for k in range(updates):
            for c in range(over):
                updated[core, start + k * program.period + c] += 1
    for p in program.populations:
        for k in range(updates_of(program, p) if p.neuron.embedded else 0):
            one[PROCESSOR, p.offset + k * program.period] += p.neuron.operations(p.size) * TIMES["embedded-op"]
    for x in program.products:
        for k in range(program.steps if x.realisation == "embedded" else 0):
            at = later(program, x) + k * program.period
            one[PROCESSOR, at] += realise(x).multiplies * TIMES["embedded-op"]
    held: dict[int, int] = defaultdict(int)
    for core in where.values():
        held[core] += 1
    found = []
    for step in range(window):
        now = before * each + step
        work: dict[int, float] = defaultdict(float)
        visited: dict[int, float] = defaultdict(float)
        for started in range(before * 3):
            for core in (*held, PROCESSOR):
                work[core] += one.get((core, now - started * each), 0.0)
                visited[core] += updated.get((core, now - started * each), 0.0)
        for core, neurons in held.items():  # the rest are idle, and updated for all that
            work[core] += max(neurons, visited[core]) * TIMES["neuron-update"]
        found.append(TIMES["barrier"] + max(work.values()))
    return sum(found), sum(found[:each])


def check(case: Case) -> None:
    program, _, placed, ledger = run(case, meshed(5))
    result = oracle.run(program, case[1])
    times = timing(program, ledger, TABLE)
    assert times is not None
    latency, interval = walk(program, dict(result.traces), placed)
    assert times.latency.nominal == pytest.approx(latency)
    assert times.interval.nominal == pytest.approx(interval)
    assert times.interval.low <= times.interval.nominal <= times.interval.high
    if program.mode == "fall-through":
        assert times.latency == times.interval
    # the busiest core cannot be done sooner, nor can there be more time than if one core worked after the other
    busy = [seconds.nominal for seconds in times.busy.values()]
    barriers = TIMES["barrier"] * program.chip_steps_per_sample
    processor = sum(ledger.embedded.values()) / ledger.samples * TIMES["embedded-op"]
    assert max(busy) + barriers <= interval * (1 + 1e-9)
    assert interval <= (sum(busy) + processor + barriers) * (1 + 1e-9)


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=2, graded=True))
def test_time_is_that_of_a_walk_over_the_chips_clock(case: Case) -> None:
    with suppress(RefusedError):
        check(case)


@pytest.mark.parametrize("mode", ["fall-through", "pipelined"])
def test_a_streamed_product_works_slice_after_slice(mode: str) -> None:
    product = Product("x", "in", "in", "out", (2, 3), (2, 3), "ij,kj->ik", delay=5, realisation="streamed", stream="j")
    program = Program(
        "streamed",
        (Population("in", (6,), Input()), Population("out", (4,), Compare(vth=0), offset=5)),
        (),
        (InputPort("in"),),
        (OutputPort("out"),),
        steps=4,
        products=(product,),
        period=4,
        mode=mode,
    )
    messages = (np.random.default_rng(0).random((2, 4, 6)) < 0.6).astype(np.int64)
    check((program, {"in": messages}))
