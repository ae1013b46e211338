"""What networks that think in ticks add to a Program: populations that stop, latched operands, ports, starts, embedded
populations. Worked out by hand, or against the networks of neurons that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import Case, cases

from ndeploy import oracle, wellformed
from ndeploy.counts import count
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import (
    Gate,
    Input,
    LayerNorm,
    Message,
    Neuron,
    ProductNeuron,
    Register,
    Relay,
    Sigma,
    Softmax,
    State,
    Synchrony,
)
from ndeploy.realise import product_events, realise
from ndeploy.synapses import Sparse
from ndeploy.synapses.sparse import identity


def program(*populations: Population, projections=(), products=(), steps: int, period: int = 1) -> Program:
    """Its inputs are the input populations, its output the last population."""
    made = Program(
        "test", populations, tuple(projections),
        tuple(InputPort(p.name) for p in populations if isinstance(p.neuron, Input)),
        (OutputPort(populations[-1].name, decode="none"),), steps, tuple(products), period,
    )  # fmt: skip
    wellformed.check(made)
    return made


def row(*values: int) -> IntArray:
    """One sample of one neuron."""
    return np.array(values, dtype=np.int64).reshape(1, -1, 1)


def test_a_population_that_stops_keeps_its_state_and_sends_nothing() -> None:
    unit = identity(1)
    made = program(
        Population("in", (1,), Input(8)),
        Population("sum", (1,), Sigma(), 1, updates=2),
        Population("out", (1,), Relay(16), 2),
        projections=(Projection("a", "in", "sum", unit), Projection("b", "sum", "out", unit)),
        steps=4,
    )
    result = oracle.run(made, {"in": row(1, 2, 3, 4)})
    assert result.traces["spikes/sum"].tolist() == row(1, 3, 0, 0).tolist()
    assert result.traces["state/sum/sigma"].tolist() == row(1, 3, 3, 3).tolist()
    assert result.outputs["out"].tolist() == row(1, 3, 0, 0).tolist()
    assert {k: int(v[0]) for k, v in result.counts.neuron_updates.items()} == {"in": 0, "sum": 2, "out": 4}
    # what is sent to it after its last update is sent, and counted, and lost
    assert {k: int(v[0]) for k, v in result.counts.synaptic_ops.items()} == {"a": 4, "b": 2}


def test_an_input_that_stops_sends_what_the_host_gave_first_and_a_sigma_holds_it() -> None:
    made = program(
        Population("in", (1,), Input(8), updates=1),
        Population("held", (1,), Sigma(), 1),
        projections=(Projection("a", "in", "held", identity(1)),),
        steps=3,
    )
    result = oracle.run(made, {"in": row(7, 9, 9)})
    assert result.traces["spikes/in"].tolist() == row(7, 0, 0).tolist()
    assert result.outputs["held"].tolist() == row(7, 7, 7).tolist()
    assert int(result.counts.spikes["in"][0]) == 1
    assert int(result.counts.synaptic_ops["a"][0]) == 1


def test_a_stopped_population_overflows_no_more() -> None:
    made = program(
        Population("in", (1,), Input(8)),
        Population("out", (1,), Relay(4), 1, updates=1),
        projections=(Projection("a", "in", "out", identity(1)),),
        steps=3,
    )
    assert oracle.run(made, {"in": row(100, 100, 100)}).overflow == {"out": {"payload-overflow": 1}}


@pytest.mark.parametrize("offsets", [(0, 0), (0, 3), (3, 0)])
def test_a_latched_operand_takes_part_as_it_was_last(offsets: tuple[int, int]) -> None:
    later = max(offsets)
    made = program(
        Population("fixed", (2,), Input(8), offsets[0], updates=2),
        Population("moving", (2,), Input(8), offsets[1]),
        Population("out", (1,), Relay(24), later + 2),
        products=(Product("p", "fixed", "moving", "out", (2,), (2,), "i,i->", exponent=1),),
        steps=4,
    )
    fixed, moving = np.array([[[1, 2], [3, 0], [50, 50], [60, 60]]]), np.array([[[4, 5], [6, 0], [0, 7], [9, 8]]])
    result = oracle.run(made, {"fixed": fixed, "moving": moving})
    # 1*4 + 2*5, 3*6, then 3 and 0 for good: 0, 3*9
    assert result.outputs["out"].reshape(-1).tolist() == [14 >> 1, 18 >> 1, 0, 27 >> 1]
    counted = {k: {n: int(v[0]) for n, v in getattr(result.counts, k).items()} for k in ("synaptic_ops", "spikes")}
    # fixed visits 2 + 1 synapses and then no more, moving 2 + 1 + 1 + 2; live 2 + 1 + 0 + 1 products reach the target
    assert counted["synaptic_ops"]["p"] == 3 + 6 + 4
    assert counted["spikes"] == {"fixed": 3, "moving": 6, "out": 3, "p": 4}
    assert int(result.counts.neuron_updates["p"][0]) == 2 * 4


@dataclass(frozen=True, eq=False)
class Latch(Neuron):
    """A product neuron that keeps its first operand by slice: what arrives at "in1" at update k is word k % words;
    after `loads` rounds nothing is sent any more and the words stay (test-local)."""

    kind: ClassVar[str] = "test-latch"
    ports: ClassVar[tuple[str, ...]] = ("in1", "in2")
    words: int
    loads: int

    @property
    def message(self) -> Message:
        return Message(16)

    @property
    def state(self) -> tuple[str, ...]:
        return ("clock", *(f"word{i}" for i in range(self.words)))

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        now = int(state["clock"].reshape(-1)[0])
        after = dict(state, clock=state["clock"] + 1)
        name = f"word{now % self.words}"
        if now // self.words < self.loads:
            after[name] = inputs["in1"]
        return after, after[name] * inputs["in2"]


def test_latched_parallel_product_is_neurons_that_keep_a_word() -> None:
    steps, n, loads = 5, 6, 2
    product = Product("p", "l", "r", "out", (2, 3), (3,), "ij,j->i")
    left, right = Population("l", (6,), Input(3), updates=loads), Population("r", (3,), Input(3))
    made = program(left, right, Population("out", (2,), Relay(24), 2), products=(product,), steps=steps)
    rng = np.random.default_rng(0)
    messages = {"l": rng.integers(0, 3, (3, steps, 6)), "r": rng.integers(0, 3, (3, steps, 3))}
    each = np.arange(n)
    ones = np.ones(n, dtype=np.int16)
    explicit = Program(
        "explicit",
        (left, right, Population("neurons", (n,), Latch(1, loads), 1), Population("out", (2,), Relay(24), 2)),
        (
            Projection("a", "l", "neurons", identity(6), "in1"),
            Projection("b", "r", "neurons", Sparse(ones, each, each % 3, 3, n), "in2"),
            Projection("c", "neurons", "out", Sparse(ones, each // 3, each, n, 2)),
        ),
        made.inputs, made.outputs, steps,
    )  # fmt: skip
    found, expected = oracle.run(explicit, messages), oracle.run(made, messages)
    np.testing.assert_array_equal(found.outputs["out"], expected.outputs["out"])
    total = sum(found.counts.synaptic_ops[name] for name in "abc")
    np.testing.assert_array_equal(total, expected.counts.synaptic_ops["p"])
    np.testing.assert_array_equal(found.counts.spikes["neurons"], expected.counts.spikes["p"])
    np.testing.assert_array_equal(found.counts.neuron_updates["neurons"], expected.counts.neuron_updates["p"])
    assert realise(product).neurons == n


def test_latched_streamed_product_is_neurons_that_keep_a_word_for_each_slice() -> None:
    """Slices of both operands at successive chip steps; those of the latched one in its first rounds only."""
    steps, length, loads = 4, 3, 1
    product = Product(
        "p", "l", "r", "out", (2, 3), (3,), "ij,j->i", delay=length + 2, realisation="streamed", stream="j"
    )
    left, right = Population("l", (6,), Input(3), updates=loads), Population("r", (3,), Input(3))
    made = program(
        left, right, Population("out", (2,), Relay(24), length + 2), products=(product,), steps=steps, period=length
    )
    rng = np.random.default_rng(0)
    messages = {"l": rng.integers(0, 3, (2, steps, 6)), "r": rng.integers(0, 3, (2, steps, 3))}
    expected = oracle.run(made, messages)
    # what the buffers release, a slice a chip step: the explicit network starts there
    chip = steps * length
    slices = {"l": np.zeros((2, chip, 2), dtype=np.int64), "r": np.zeros((2, chip, 1), dtype=np.int64)}
    for k in range(steps):
        for j in range(length):
            slices["r"][:, k * length + j, 0] = messages["r"][:, k, j]
            if k < loads:
                slices["l"][:, k * length + j] = messages["l"][:, k].reshape(2, 2, 3)[:, :, j]
    ones = np.ones(2, dtype=np.int16)
    explicit = Program(
        "explicit",
        (
            Population("l", (2,), Input(3)), Population("r", (1,), Input(3)),
            Population("neurons", (2,), Latch(length, loads), 1), Population("out", (2,), Relay(24), 2),
        ),
        (
            Projection("a", "l", "neurons", identity(2), "in1"),
            Projection("b", "r", "neurons", Sparse(ones, np.arange(2), np.zeros(2, dtype=np.int64), 1, 2), "in2"),
            Projection("c", "neurons", "out", identity(2)),
        ),
        made.inputs, made.outputs, chip,
    )  # fmt: skip
    found = oracle.run(explicit, slices)
    summed = found.outputs["out"].reshape(2, steps, length, 2).sum(axis=2)
    np.testing.assert_array_equal(summed, expected.outputs["out"])
    released = found.counts.spikes["l"] + found.counts.spikes["r"]  # each was loaded into its buffer over one synapse
    visits = sum(found.counts.synaptic_ops[name] for name in "abc") + released
    np.testing.assert_array_equal(visits, expected.counts.synaptic_ops["p"])
    np.testing.assert_array_equal(found.counts.spikes["neurons"] + released, expected.counts.spikes["p"])
    buffers = steps * length * (6 + 3)
    np.testing.assert_array_equal(found.counts.neuron_updates["neurons"] + buffers, expected.counts.neuron_updates["p"])


def test_what_was_latched_is_not_visited_again() -> None:
    product = Product("p", "l", "r", "o", (2,), (2,), "i,j->ij")
    left, right = np.array([1, 2]), np.array([3, 0])
    assert product_events(product, left, right).synaptic_ops == 2 * 2 + 1 * 2 + 2
    assert product_events(product, left, right, left_sent=False).synaptic_ops == 1 * 2 + 2
    assert product_events(product, left, right, right_sent=False).synaptic_ops == 2 * 2 + 2
    assert product_events(product, left, right, False, False).synaptic_ops == 2
    assert product_events(product, left, right, False, False).spikes == 2


def test_ports_are_summed_apart_and_consumed_together() -> None:
    made = program(
        Population("in", (1,), Input(8, signed=True)),
        Population("gate", (1,), Input(17, signed=True)),
        Population("out", (1,), Gate(16), 2),
        projections=(
            Projection("a", "in", "out", identity(1), "in", delay=2),
            Projection("b", "gate", "out", identity(1), "gate", delay=2),
            Projection("c", "in", "out", identity(1, 3), "in", delay=2),
        ),
        steps=3,
    )
    # gates wide open, half open, shut; the value is four times the input
    result = oracle.run(made, {"in": row(5, 6, -7), "gate": row(2**16 - 1, 0, -(2**16))})
    assert result.outputs["out"].reshape(-1).tolist() == [20, 12, 0]


def test_two_products_onto_the_ports_of_one_population() -> None:
    made = program(
        Population("a", (2,), Input(4)),
        Population("b", (2,), Input(4)),
        Population("out", (1,), ProductNeuron(bits=16), 2),
        products=(
            Product("p", "a", "b", "out", (2,), (2,), "i,i->", "in1"),
            Product("q", "a", "a", "out", (2,), (2,), "i,i->", "in2"),
        ),
        steps=1,
    )
    result = oracle.run(made, {"a": np.array([[[1, 2]]]), "b": np.array([[[3, 4]]])})
    assert result.outputs["out"].reshape(-1).tolist() == [(3 + 8) * (1 + 4)]


def test_embedded_populations_are_counted_on_cores_and_on_the_processor() -> None:
    made = program(
        Population("in", (2, 3), Input(8)),
        Population("norm", (2, 3), LayerNorm(8, (6,), 0, 1), 1, updates=2),
        Population("shares", (2, 3), Softmax(8, (2, 3)), 3),
        projections=(
            Projection("a", "in", "norm", identity(6)),
            Projection("b", "norm", "shares", identity(6), delay=2),
        ),
        steps=4,
    )
    result = oracle.run(made, {"in": np.arange(24, dtype=np.int64).reshape(1, 4, 2, 3)})
    assert {k: int(v[0]) for k, v in result.counts.embedded_ops.items()} == {"norm": 9 * 6 * 2, "shares": 9 * 6 * 4}
    assert int(result.counts.neuron_updates["norm"][0]) == 6 * 2
    assert int(result.counts.neuron_updates["shares"][0]) == 6 * 4
    assert int(result.counts.synaptic_ops["a"][0]) == 23
    # after the last message of the norm every score is zero: equal shares
    assert (result.outputs["shares"][0, 2:] == 85).all()


def test_every_sample_begins_at_the_start_values() -> None:
    made = program(
        Population("in", (2,), Input(4)),
        Population("first", (2,), Register(8, np.array([3, 4])), 1),
        Population("synch", (2,), Synchrony(16, 4096, np.array([[1, 1], [2, 2]]), start=np.array([10, 20])), 2),
        projections=(
            Projection("a", "in", "first", identity(2)),
            Projection("b", "first", "synch", identity(2), "left"),
            Projection("c", "first", "synch", identity(2), "right"),
        ),
        steps=3,
    )
    result = oracle.run(made, {"in": np.ones((2, 3, 2), dtype=np.int64)})
    for sample in range(2):
        assert result.traces["spikes/first"][sample].tolist() == [[4, 5], [1, 1], [1, 1]]
        assert result.traces["state/synch/alpha"][sample].tolist() == [[26, 45], [27, 46], [28, 47]]
        assert result.outputs["synch"][sample].tolist() == [[26, 45], [54, 92], [56, 94]]


def test_updates_of_every_step_are_none() -> None:
    made = program(
        Population("l", (2,), Input(8)),
        Population("out", (1,), Relay(24), 2),
        products=(Product("p", "l", "l", "out", (2,), (2,), "i,i->"),),
        steps=3,
    )
    same = replace(made, populations=tuple(replace(p, updates=3) for p in made.populations))
    messages = {"l": np.array([[[1, 2], [3, 0], [5, 6]]])}
    first, second = oracle.run(made, messages), oracle.run(same, messages)
    np.testing.assert_array_equal(first.outputs["out"], second.outputs["out"])
    assert first.counts.synaptic_ops == second.counts.synaptic_ops
    # a shorter run than compiled for stops with it
    short = oracle.run(replace(same, steps=2), {"l": messages["l"][:, :2]})
    np.testing.assert_array_equal(short.outputs["out"], first.outputs["out"][:, :2])


SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(SETTINGS, max_examples=60)
@given(cases(graded=True))
def test_random_programs_are_well_formed_and_counted_from_their_traces(case: Case) -> None:
    made, messages = case
    wellformed.check(made)
    result = oracle.run(made, messages)
    counted = count(made, result.traces)
    for kind in ("spikes", "synaptic_ops", "neuron_updates", "embedded_ops"):
        have, want = getattr(counted, kind), getattr(result.counts, kind)
        assert have.keys() == want.keys(), kind
        for name, value in want.items():
            np.testing.assert_array_equal(have[name], value, err_msg=f"{kind} {name}")
    for p in made.populations:
        last = made.steps if p.updates is None else p.updates
        assert not result.traces[f"spikes/{p.name}"][:, last:].any()
        for variable in p.neuron.state:
            trace = result.traces[f"state/{p.name}/{variable}"]
            assert (trace[:, last:] == trace[:, last - 1 : last]).all()
