"""Injected faults are exactly the ones drawn: proved with the oracle, a slow walk of its own, and random programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_programs import Case, cases
from small_artifact import PROGRAM

from ndeploy import oracle, sim
from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import CubaLi, Input, Message, Relay
from ndeploy.realise import index_sizes
from ndeploy.suite import inject
from ndeploy.suite.inject_stuck import Held, Stuck, held, places_of
from ndeploy.synapses import Dense

SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@SOME
@given(cases(graded=True), st.integers(0, 2**16), st.data())
def test_the_chosen_neurons_are_stuck_and_no_others(case: Case, seed: int, data: st.DataObject) -> None:
    """In the oracle: the chosen ones send their value in every update; every other neuron does what its own `step`
    makes of what arrives; and the simulator computes the same."""
    program, messages = case
    only = replace(program, products=())  # products' neurons have a test of their own
    total = sum(places_of(only))
    assume(total)
    wanted = data.draw(st.integers(1, total))
    drawn = inject.draw(only, "stuck", wanted, seed)
    assert sum(len(found.places) for found in drawn) == wanted
    made = replace(inject.faulty(only, "stuck", wanted, seed), products=program.products)
    traces = oracle.run(made, messages).traces
    for plain, population, found in zip(program.populations, made.populations, drawn, strict=True):
        if not len(found.places):
            assert population is plain
            continue
        message = plain.neuron.message
        values = found.values(message.low, message.high) if message.bits else 0
        live = oracle.updates_of(made, population)
        sent = traces[f"spikes/{population.name}"].reshape(len(messages["in0"]), program.steps, -1)
        assert (sent[:, :live, found.places] == values).all()
        read = [port.variable for port in program.outputs if port.population == plain.name]
        for variable in set(read) - {"message"}:
            state = traces[f"state/{population.name}/{variable}"].reshape(sent.shape)
            assert (state[:, :live, found.places] == found.values(-STATE_MAX, STATE_MAX)).all()
        same_elsewhere(plain, population, found.places)
    told = sim.run(made, messages, trace=True).traces
    assert all((told[key] == value).all() for key, value in traces.items())


def same_elsewhere(before: Population, after: Population, places: IntArray) -> None:
    """From random states and inputs, the population's other neurons make what they made."""
    rng = np.random.default_rng(1)
    state = {name: rng.integers(0, 100, before.shape) for name in before.neuron.state}
    inputs = {port: rng.integers(-99, 99, before.shape) for port in before.neuron.ports}
    others = np.delete(np.arange(before.size), places)
    plain, plain_sent = before.neuron.step(state, inputs)
    now, sent = after.neuron.step(state, inputs)
    assert (sent.reshape(-1)[others] == plain_sent.reshape(-1)[others]).all()
    assert all((now[name].reshape(-1)[others] == plain[name].reshape(-1)[others]).all() for name in plain)


def test_a_value_is_drawn_over_the_whole_payload() -> None:
    drawn = np.stack([np.full(4096, 0.9), np.linspace(0, 1, 4096, endpoint=False)], axis=1)
    places = np.arange(4096)
    for message in (Message(), Message(2, signed=True), Message(8), Message(8, signed=True)):
        values = Held(places, drawn).values(message.low, message.high)
        assert set(values.tolist()) == set(range(message.low, message.high + 1)) - {0}
    assert not Held(places, drawn * [0.1, 1]).values(-128, 127).any()


def test_a_readout_is_stuck_where_it_is_read() -> None:
    """It sends nothing: the membrane that the output reads stands still."""
    readout = Population("out", (2,), CubaLi(), offset=2)
    program = replace(
        PROGRAM, populations=(*PROGRAM.populations[:2], readout), outputs=(OutputPort("out", "v", "last"),)
    )
    assert places_of(program) == [0, 3, 2]
    made = held(program, [Held(np.zeros(0, dtype=np.int64), np.zeros((0, 2))), *chosen([0]), *chosen([1], 0.75)])
    state = oracle.run(made, {"in": np.ones((1, 4, 4), dtype=np.int64)}).traces["state/out/v"][0]
    assert (state[:, 1] == np.floor(0.75 * 2 * STATE_MAX) - STATE_MAX + 1).all()
    assert len(set(state[:, 0].tolist())) > 1
    unread = replace(program, outputs=(OutputPort("hidden"),))
    assert places_of(unread) == [0, 3, 0]


def chosen(places: list[int], value: float | None = None) -> list[Held]:
    """Silent, or at that place of the payload."""
    drawn = np.array([[0.0 if value is None else 0.9, value or 0.0]] * len(places))
    return [Held(np.array(places, dtype=np.int64), drawn)]


# -- products ----------------------------------------------------------------------------------------------------------


def slow(product: Product, left: IntArray, right: IntArray, stuck: dict[tuple[int, ...], int]) -> IntArray:
    """The product formed scalar by scalar, neurons that are stuck by their index giving their value."""
    sides, result = product.subscripts.split("->")
    letters = {}
    for side, view in zip(sides.split(","), (product.left_view, product.right_view), strict=True):
        letters.update(zip(side, view, strict=True))
    own = [x for x in letters if product.realisation != "streamed" or x != product.stream]
    total = np.zeros([letters[x] for x in result], dtype=np.int64)
    a, b = left.reshape(product.left_view), right.reshape(product.right_view)
    for place in np.ndindex(*letters.values()):
        at = dict(zip(letters, place, strict=True))
        one = int(a[tuple(at[x] for x in sides.split(",")[0])]) * int(b[tuple(at[x] for x in sides.split(",")[1])])
        total[tuple(at[x] for x in result)] += stuck.get(tuple(at[x] for x in own), one)
    return np.asarray(total >> product.exponent).reshape(-1)


def attention(subscripts: str, views: Any, exponent: int, realisation: str, stream: str, signed: bool) -> Program:
    """Two inputs of 3 bits, their product, and a relay that shows it."""
    sizes = [int(np.prod(view)) for view in views]
    letters = dict(zip(subscripts.replace(",", "").split("->")[0], [*views[0], *views[1]], strict=True))
    size = int(np.prod([letters[x] for x in subscripts.split("->")[1]]))
    delay = letters[stream] + 2 if stream else 2
    return Program(
        name="attention",
        populations=(
            Population("q", (sizes[0],), Input(3, signed), offset=1),
            Population("k", (sizes[1],), Input(3, signed)),
            Population("out", (size,), Relay(20), offset=delay + 1),
        ),
        projections=(),
        inputs=(InputPort("q"), InputPort("k")),
        outputs=(OutputPort("out"),),
        steps=3,
        products=(
            Product("p", "q", "k", "out", *views, subscripts, exponent=exponent, delay=delay,
                    realisation=realisation, stream=stream),
        ),
        period=4,
    )  # fmt: skip


@pytest.mark.parametrize("exponent", [0, 2])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("subscripts", "views", "realisation", "stream"),
    [
        ("ij,jk->ik", ((3, 2), (2, 3)), "parallel", ""),
        ("ij,kj->ik", ((3, 4), (2, 4)), "streamed", "j"),
        ("hi,hk->hik", ((2, 2), (2, 3)), "parallel", ""),
        ("i,i->", ((5,), (5,)), "parallel", ""),
        ("i,i->", ((5,), (5,)), "streamed", "i"),
    ],
)
def test_neurons_of_products(
    subscripts: str, views: Any, realisation: str, stream: str, signed: bool, exponent: int
) -> None:
    """Sums come out as if exactly those neurons were stuck, for all numbers of them."""
    program = attention(subscripts, views, exponent, realisation, stream, signed)
    (product,) = program.products
    rng = np.random.default_rng(3)
    low, high = (-4, 4) if signed else (0, 8)
    messages = {p.name: rng.integers(low, high, (2, 3, p.size)) for p in program.populations[:2]}
    total = places_of(program)[-1]
    sizes = dict(zip(subscripts.replace(",", "").split("->")[0], [*views[0], *views[1]], strict=True))
    sizes.pop(stream, None)
    assert total == np.prod(list(sizes.values()))
    for number in sorted({1, min(3, total), total}):
        places = rng.permutation(total)[:number]
        drawn = rng.random((number, 2))
        nothing = Held(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))
        made = held(program, [nothing, nothing, nothing, Held(places, drawn)])
        bits = Message(6, signed)
        values = Held(places, drawn).values(bits.low, bits.high)
        stuck = {
            tuple(int(i) for i in np.unravel_index(place, tuple(sizes.values()))): int(value)
            for place, value in zip(places, values, strict=True)
        }
        for found in (oracle.run(made, messages), sim.run(made, messages)):
            for sample in range(2):
                for step in range(3):
                    wanted = slow(product, messages["q"][sample, step], messages["k"][sample, step], stuck)
                    assert (found.outputs["out"][sample, step] == wanted).all()


@SOME
@given(cases(graded=True), st.integers(0, 2**16), st.data())
def test_neurons_of_products_in_any_program(case: Case, seed: int, data: st.DataObject) -> None:
    """Every population sends, at every model step, what it sends where the oracle itself forms the product with the
    neurons stuck: whatever the delays, lags, ports and updates around it."""
    program, messages = case
    sizes = places_of(program)[len(program.populations) :]
    usable = [i for i, size in enumerate(sizes) if size]
    assume(usable)
    which = data.draw(st.sampled_from(usable))
    number = data.draw(st.integers(1, min(sizes[which], 20)))
    rng = np.random.default_rng(seed)
    faults = Held(rng.permutation(sizes[which])[:number], rng.random((number, 2)))
    nothing = Held(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))
    made = held(
        program,
        [nothing] * len(program.populations) + [faults if i == which else nothing for i in range(len(sizes))],
    )
    product = program.products[which]
    neuron = made.populations[-1].neuron
    assert isinstance(neuron, Stuck)
    lengths = index_sizes(product)
    if product.realisation == "streamed":
        del lengths[product.stream]
    values = faults.values(neuron.message.low, neuron.message.high)
    index = [tuple(int(i) for i in np.unravel_index(place, tuple(lengths.values()))) for place in faults.places]
    stuck = dict(zip(index, map(int, values), strict=True))

    def multiply(of: Product, left: IntArray, right: IntArray) -> IntArray:
        return slow(of, left, right, stuck if of.name == product.name else {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "multiply", multiply)
        wanted = oracle.run(program, messages).traces
    for found in (oracle.run(made, messages).traces, sim.run(made, messages, trace=True).traces):
        assert all((found[key] == value).all() for key, value in wanted.items())


def test_latched_and_embedded_products_have_no_neurons_to_be_stuck() -> None:
    program = attention("ij,jk->ik", ((3, 2), (2, 3)), 0, "parallel", "", False)
    assert places_of(program) == [0, 0, 9, 18]
    embedded = replace(program, products=(replace(program.products[0], realisation="embedded"),))
    assert places_of(embedded) == [0, 0, 9, 0]
    latched = replace(program, populations=(replace(program.populations[0], updates=1), *program.populations[1:]))
    assert places_of(latched) == [0, 0, 9, 0]


# -- bits --------------------------------------------------------------------------------------------------------------


def test_bits_of_delays_flip_too() -> None:
    weight = np.ones((2, 3), dtype=np.int16)
    delays = np.array([[0, 1, 2], [5, 0, 0]], dtype=np.int64)
    program = replace(
        PROGRAM,
        populations=(Population("in", (3,), Input()), Population("out", (2,), Relay(20), offset=1)),
        projections=(Projection("w", "in", "out", Dense(weight), delays=delays, weight_bits=4),),
        outputs=(OutputPort("out"),),
    )
    made = inject.faulty(program, "bits", 6 * (4 + 3), 0).projections[0]
    assert (made.synapses.weight == -2).all()  # all four bits of 1
    assert made.delays is not None
    assert (made.delays == delays ^ 7).all()  # the largest needs three bits
    messages = {"in": np.ones((1, 4, 3), dtype=np.int64)}
    some = inject.faulty(program, "bits", 9, 1)
    assert (oracle.run(some, messages).outputs["out"] == sim.run(some, messages).outputs["out"]).all()


@SOME
@given(cases(graded=True), st.integers(0, 2**16), st.data())
def test_flipped_bits_stay_in_their_width(case: Case, seed: int, data: st.DataObject) -> None:
    program, _ = case
    total = sum(inject._bits_of(p) for p in program.projections)
    assume(total)
    faults = data.draw(st.integers(1, total))
    made = inject.faulty(program, "bits", faults, seed)
    flipped = 0
    for before, after in zip(program.projections, made.projections, strict=True):
        a, b = (np.asarray(p.synapses.weight, dtype=np.int64).reshape(-1) for p in (before, after))
        bits = before.weight_bits
        sign = -1 if before.sign == "inhibitory" else 1
        flipped += sum(bin(int(x)).count("1") for x in ((sign * a) ^ (sign * b)) & ((1 << bits) - 1))
        low, high = {
            "mixed": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            "excitatory": (0, (1 << bits) - 1),
            "inhibitory": (-(1 << bits) + 1, 0),
        }[before.sign]
        assert ((b >= low) & (b <= high)).all()
        if before.delays is not None and after.delays is not None:
            flipped += sum(bin(int(x)).count("1") for x in (before.delays ^ after.delays).reshape(-1))
    assert flipped == faults


# -- levels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [1, 2, 3, 7, 64, 128, 129, 1000, 1 << 20, 1 << 30])
def test_levels_are_few_and_end_at_what_was_asked(faults: int) -> None:
    levels = inject.Injection("bits", faults).levels()
    assert levels[0] == 1
    assert levels[-1] == faults
    assert len(levels) <= inject.LEVELS
    assert levels == tuple(sorted(set(levels)))
