"""Products against the networks that they stand for, built from real neurons and unit synapses.

The explicit networks are run by the oracle; values, arrival times and event counts must be those of the product and of
the formulas in ndeploy/realise.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from ndeploy import oracle
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.ir.result import RunResult
from ndeploy.neurons import Input, Message, Neuron, ProductNeuron, Relay, State
from ndeploy.realise import index_sizes, realise
from ndeploy.synapses import Sparse
from ndeploy.synapses.sparse import identity

CASES = [
    ("ij,jk->ik", (2, 3), (3, 2), "j"),
    ("ij,kj->ik", (2, 4), (3, 4), "j"),
    ("i,i->i", (5,), (5,), ""),
    ("i,i->", (4,), (4,), "i"),
    ("hi,hk->hik", (2, 2), (2, 3), ""),
    ("hnd,hne->hde", (2, 3, 2), (2, 3, 2), "n"),
    ("hnd,hde->hne", (2, 3, 2), (2, 2, 2), "d"),
]
STEPS = 3
BITS = 3


@dataclass(frozen=True)
class Wiring:
    """Of every scalar product: the elements of left, right and result that it joins, and its place in the stream."""

    left: IntArray
    right: IntArray
    result: IntArray
    place: IntArray


def wiring(product: Product) -> Wiring:
    sizes = index_sizes(product)
    operands, result = product.subscripts.split("->")
    letters = list(sizes)
    found = []
    for values in itertools.product(*(range(sizes[x]) for x in letters)):
        at = dict(zip(letters, values, strict=True))
        flat = []
        for side in (*operands.split(","), result):
            index = 0
            for letter in side:
                index = index * sizes[letter] + at[letter]
            flat.append(index)
        found.append((*flat, at.get(product.stream, 0)))
    return Wiring(*np.array(found, dtype=np.int64).T)


def unit(target: IntArray, source: IntArray, n_in: int, n_out: int) -> Sparse:
    """Unit synapses, sorted by target, then source."""
    order = np.lexsort((source, target))
    return Sparse(np.ones(len(target), dtype=np.int16), target[order], source[order], n_in, n_out)


def with_product(product: Product, period: int, delay: int) -> Program:
    sizes = index_sizes(product)
    shape = tuple(sizes[x] for x in product.subscripts.split("->")[1]) or (1,)
    return Program(
        "product",
        (
            Population("l", product.left_view, Input(BITS)),
            Population("r", product.right_view, Input(BITS)),
            Population("out", shape, Relay(24), delay),
        ),
        (),
        (InputPort("l"), InputPort("r")),
        (OutputPort("out"),),
        STEPS,
        (product,),
        period,
    )


def random_messages(product: Product, seed: int, density: float = 0.5) -> dict[str, IntArray]:
    rng = np.random.default_rng(seed)
    found = {}
    for name, view in (("l", product.left_view), ("r", product.right_view)):
        value = rng.integers(1, 1 << BITS, size=(2, STEPS, *view))
        found[name] = np.where(rng.random(value.shape) < density, value, 0)
    return found


def totals(result: RunResult, kind: str, names: list[str]) -> IntArray:
    counts: Mapping[str, IntArray] = getattr(result.counts, kind)
    return np.asarray(sum(counts[name] for name in names))


@pytest.mark.parametrize(("subscripts", "left", "right", "stream"), CASES)
def test_parallel_realisation(subscripts: str, left: tuple[int, ...], right: tuple[int, ...], stream: str) -> None:
    product = Product("p", "l", "r", "out", left, right, subscripts)
    messages = random_messages(product, seed=1)
    expected = oracle.run(with_product(product, 1, 2), messages)

    wires = wiring(product)
    n = len(wires.left)
    base = with_product(product, 1, 2)
    size = base.population("out").size
    neurons = Population("products", (n,), ProductNeuron(bits=2 * BITS), 1)
    each = np.arange(n)
    explicit = Program(
        "parallel",
        (*base.populations[:2], neurons, base.populations[2]),
        (
            Projection("a", "l", "products", unit(each, wires.left, int(np.prod(left)), n), "in1"),
            Projection("b", "r", "products", unit(each, wires.right, int(np.prod(right)), n), "in2"),
            Projection("c", "products", "out", unit(wires.result, each, n, size)),
        ),
        base.inputs,
        base.outputs,
        STEPS,
    )
    found = oracle.run(explicit, messages)
    # the same values in the same updates: source -> neuron -> target takes the product's two chip steps
    np.testing.assert_array_equal(found.outputs["out"], expected.outputs["out"])
    assert found.outputs["out"].any()
    cost = realise(product)
    assert cost.neurons == n == cost.multiplies
    assert cost.synapses == sum(x.synapses.count() for x in explicit.projections)
    assert cost.chip_steps == 2
    np.testing.assert_array_equal(totals(found, "synaptic_ops", ["a", "b", "c"]), expected.counts.synaptic_ops["p"])
    np.testing.assert_array_equal(found.counts.spikes["products"], expected.counts.spikes["p"])
    np.testing.assert_array_equal(found.counts.neuron_updates["products"], expected.counts.neuron_updates["p"])


@dataclass(frozen=True, eq=False)
class Gate(Neuron):
    """Sends its input at chip step `offset` of every `period`, from the first; nothing at others (test-local)."""

    kind: ClassVar[str] = "test-gate"
    period: int
    offset: int
    bits: int = 24

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("clock", "sum")

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        total = state["sum"] + inputs["in"]
        open_now = state["clock"] % self.period == self.offset
        after = {"clock": state["clock"] + 1, "sum": np.where(open_now, 0, total)}
        return after, np.where(open_now, total, 0)


@dataclass(frozen=True, eq=False)
class StreamBuffer(Neuron):
    """Holds what arrives for `place` chip steps, by neuron, then sends it (test-local).

    A message that arrives at chip step t is sent in the update at t + place: slice 0 at once, slice 1 a step later.
    """

    kind: ClassVar[str] = "test-stream-buffer"
    place: IntArray
    bits: int = BITS

    @property
    def message(self) -> Message:
        return Message(self.bits)

    @property
    def state(self) -> tuple[str, ...]:
        return ("held", "wait")

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        fresh = inputs["in"] != 0
        held = np.where(fresh, inputs["in"], state["held"])
        wait = np.where(fresh, self.place, state["wait"])
        release = (held != 0) & (wait == 0)
        after = {"held": np.where(release, 0, held), "wait": np.maximum(wait - 1, 0)}
        return after, np.where(release, held, 0)


def spread(messages: dict[str, IntArray], period: int, chip_steps: int) -> dict[str, IntArray]:
    """The same messages at chip-step granularity: one model step every `period` steps, nothing between."""
    found = {}
    for name, value in messages.items():
        wide = np.zeros((value.shape[0], chip_steps, *value.shape[2:]), dtype=np.int64)
        wide[:, : STEPS * period : period] = value
        found[name] = wide
    return found


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize(("subscripts", "left", "right", "stream"), [c for c in CASES if c[3]])
def test_streamed_realisation(
    subscripts: str, left: tuple[int, ...], right: tuple[int, ...], stream: str, extra: int
) -> None:
    plain = Product("p", "l", "r", "out", left, right, subscripts, realisation="streamed", stream=stream)
    length = index_sizes(plain)[stream]
    cost = realise(plain)
    assert cost.chip_steps == length + 2
    assert cost.busy == length
    period = length + extra
    product = Product("p", "l", "r", "out", left, right, subscripts, "in", 0, cost.chip_steps, "streamed", stream)
    base = with_product(product, period, cost.chip_steps)
    messages = random_messages(product, seed=2)
    expected = oracle.run(base, messages)

    wires = wiring(product)
    n = len(wires.left)
    n_left, n_right = int(np.prod(left)), int(np.prod(right))
    # neurons are shared by the slices: one for every scalar product of slice 0
    neurons = n // length
    rank = np.array([_rank(product, i) for i in range(n)])
    place_left, place_right = np.zeros(n_left, dtype=np.int64), np.zeros(n_right, dtype=np.int64)
    place_left[wires.left], place_right[wires.right] = wires.place, wires.place
    size = base.population("out").size
    into = np.zeros(neurons, dtype=np.int64)
    into[rank] = wires.result
    chip_steps = STEPS * period + cost.chip_steps
    ports = (InputPort("l"), InputPort("r")), (OutputPort("out"),)
    explicit = Program(
        "streamed",
        (
            Population("l", (n_left,), Input(BITS)),
            Population("r", (n_right,), Input(BITS)),
            Population("hold l", (n_left,), StreamBuffer(place_left), 1),
            Population("hold r", (n_right,), StreamBuffer(place_right), 1),
            Population("products", (neurons,), ProductNeuron(bits=2 * BITS), 2),
            Population("out", (size,), Gate(period, (length - 1) % period), 3),
        ),
        (
            Projection("load l", "l", "hold l", identity(n_left)),
            Projection("load r", "r", "hold r", identity(n_right)),
            Projection("a", "hold l", "products", unit(rank, wires.left, n_left, neurons), "in1"),
            Projection("b", "hold r", "products", unit(rank, wires.right, n_right, neurons), "in2"),
            Projection("c", "products", "out", unit(into, np.arange(neurons), neurons, size)),
        ),
        *ports,
        chip_steps,
    )
    flat = {name: m.reshape(*m.shape[:2], -1) for name, m in messages.items()}
    found = oracle.run(explicit, spread(flat, period, chip_steps))

    # the last slice reaches the target L + 2 chip steps after the operands were sent (the gate's update k is at chip
    # step 3 + k): the product of model step m is what the target sends at chip step m * period + L + 2
    for m in range(STEPS):
        update = m * period + length + 2 - 3
        np.testing.assert_array_equal(
            found.outputs["out"][:, update], expected.outputs["out"][:, m].reshape(2, -1), err_msg=f"model step {m}"
        )
    assert expected.outputs["out"].any()
    assert cost.neurons == n_left + n_right + neurons
    assert cost.synapses == sum(x.synapses.count() for x in explicit.projections)
    everything = ["load l", "load r", "a", "b", "c"]
    np.testing.assert_array_equal(totals(found, "synaptic_ops", everything), expected.counts.synaptic_ops["p"])
    fired = ["hold l", "hold r", "products"]
    np.testing.assert_array_equal(totals(found, "spikes", fired), expected.counts.spikes["p"])
    # buffers and product neurons are charged for the L chip steps of a model step in which slices pass through them
    assert int(expected.counts.neuron_updates["p"][0]) == STEPS * length * (n_left + n_right + neurons)


def _rank(product: Product, i: int) -> int:
    """The neuron of scalar product i: its index without the streamed one."""
    sizes = index_sizes(product)
    letters = list(sizes)
    values = np.unravel_index(i, tuple(sizes[x] for x in letters))
    rank = 0
    for letter, value in zip(letters, values, strict=True):
        if letter != product.stream:
            rank = rank * sizes[letter] + int(value)
    return rank


def test_embedded_realisation_has_no_neurons() -> None:
    product = Product("p", "l", "r", "out", (2, 3), (3, 2), "ij,jk->ik", realisation="embedded")
    result = oracle.run(with_product(product, 1, 2), random_messages(product, seed=3))
    assert realise(product).neurons == 0
    assert list(result.counts.embedded_ops["p"]) == [12 * STEPS] * 2
    assert list(result.counts.synaptic_ops["p"]) == [0, 0]
    assert "p" not in result.counts.spikes
