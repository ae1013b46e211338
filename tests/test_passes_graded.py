"""Scales, units, multipliers and bounds of graded populations."""

from __future__ import annotations

import math
from dataclasses import replace

import graded_compile
import numpy as np
import pytest
from graded_networks import GRADED_NETWORKS, Drawing, thinker
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.decode import encode
from ndeploy.errors import RefusedError
from ndeploy.fixed import DECAY_ONE, STATE_MAX
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Lowered, RealPopulation, RealProduct, Source
from ndeploy.neurons import Delta
from ndeploy.passes import graded
from ndeploy.passes.graded_form import graded_form
from ndeploy.passes.graded_units import REACH, product_unit
from ndeploy.passes.intervals import Intervals
from ndeploy.quantizer import Coding, InputCoding
from ndeploy.sim import run


@pytest.mark.parametrize("together", [True, False], ids=["second-order", "nearest"])
@pytest.mark.parametrize("name", GRADED_NETWORKS)
def test_no_message_whatever_its_sign_makes_a_sum_leave_24_bits(name, together):
    """Every weight with the worst sign of the largest message its source can send, biases included."""
    network = GRADED_NETWORKS[name](0)
    asked = graded_compile.request(network, graded_compile.samples(network, 20), together=together)
    program = graded_compile.quantise(asked).program
    for p in program.populations:
        for port in ("in", "gate"):
            if port not in p.neuron.ports or p.neuron.kind in ("register", "sigma", "delta", "synchrony", "input"):
                continue
            into = [q for q in program.projections if (q.target, q.port) == (p.name, port)]
            products = [q for q in program.products if q.target == p.name and port == "in"]
            bounds = Intervals({x.name: x.shape for x in program.populations}, into, products)
            for source in {q.source for q in into} | {o for q in products for o in (q.left, q.right)}:
                bounds.assume(source, program.population(source).neuron)
            bias = np.asarray(getattr(p.neuron, "bias" if port == "in" else "gate_bias", 0))
            size = math.prod(p.shape)
            bias = np.broadcast_to(bias, p.shape).reshape(size)
            # a sum of weighted deltas has 24 bits, of which its bound on what it can hold leaves half
            if any(program.population(q.source).neuron.kind == "sigma" for q in into):
                continue
            low, high = bounds.input(p.name)
            assert max(int(np.abs(low + bias).max()), int(np.abs(high + bias).max())) <= STATE_MAX, (p.name, port)


@pytest.mark.parametrize("name", ["ctm", "oddities", "maximum pools"])
def test_inputs_far_beyond_calibration_saturate_and_never_overflow(name):
    network = GRADED_NETWORKS[name](2)
    data = graded_compile.samples(network, 20)
    program = graded_compile.quantise(graded_compile.request(network, data)).program
    rng = np.random.default_rng(1)
    messages = {}
    for port in program.inputs:
        p = program.population(port.population)
        shape = (16, program.steps, *p.shape)
        messages[p.name] = rng.choice([p.neuron.message.low, p.neuron.message.high], shape).astype(np.int64)
    result = run(program, messages)
    assert not {
        (population, event)
        for population, events in result.overflow.items()
        for event, count in events.items()
        if count and event != "payload-saturated"
    }


@pytest.mark.parametrize("name", GRADED_NETWORKS)
def test_every_message_is_worth_what_its_scale_says(name):
    """Joins of static and other values, products of what the host sends, pools: at 12-bit weights all is close."""
    network = GRADED_NETWORKS[name](1)
    data = graded_compile.samples(network, 40)
    program = graded_compile.quantise(graded_compile.request(network, data, bits=12)).program
    got = run(program, encode(program, data.x, data.x_scale), trace=True).traces
    floats = reference.run(graded_form(network), data.x, graded_compile.STEPS, trace=True)
    values = {**floats.values, **floats.outputs}
    compared = 0
    for p in program.populations:
        if p.name not in values:
            continue
        updates = program.steps if p.updates is None else p.updates
        want = values[p.name][:, :updates].reshape(len(data.x), updates, *p.shape)
        real = got[f"spikes/{p.name}"][:, :updates] * np.broadcast_to(p.scale, p.shape)
        error = np.sqrt(np.mean((real - want) ** 2) / max(np.mean(want**2), 1e-12))
        assert error < 0.05, (p.name, error)
        compared += 1
    assert compared > 6


def test_an_input_that_goes_into_a_synchronisation_keeps_the_hosts_scale():
    drawing = Drawing(3)
    drawing.add("s", net.Input((4,)))
    drawing.sync("pairs", "s", 4, 5, started=True)
    drawing.linear("out_w", "pairs", 5, 3)
    drawing.add("out", net.Output((3,)), "out_w")
    network = drawing.network()
    data = graded_compile.samples(network, 30)
    program = graded_compile.quantise(graded_compile.request(network, data, bits=12)).program
    traces = run(program, encode(program, data.x, data.x_scale), trace=True).traces
    want = reference.run(network, data.x, graded_compile.STEPS, trace=True).values["pairs"]
    scale = np.broadcast_to(program.population("pairs").scale, (5,))
    assert np.abs(traces["spikes/pairs"] * scale - want).max() < 1e-3 * np.abs(want).max()


def test_spikes_that_a_register_passes_on_count_as_ones():
    for start, whole in ((np.array([1.0, 0.0, 2.0, 0.0]), True), (np.full(4, 0.3), False)):
        drawing = Drawing(3)
        drawing.add("s", net.Input((4,)))
        drawing.linear("w", "s", 4, 4)
        drawing.add("lif", net.IF(np.full(4, 500.0), np.full(4, 0.5), np.zeros(4)), "w")
        drawing.add("held", net.Register(start), "lif")
        drawing.linear("v", "held", 4, 3)
        drawing.add("silu", net.Activation("silu", (3,)), "v")
        drawing.add("out", net.Output((3,)), "silu")
        network = drawing.network()
        asked = graded_compile.request(network, graded_compile.samples(network, 20))
        if whole:
            program = graded_compile.quantise(asked).program
            assert program.population("held").scale == 1.0
            assert np.array_equal(program.population("held").neuron.start, start)
        else:
            with pytest.raises(RefusedError, match="no whole number"):
                graded_compile.quantise(asked)


@given(st.lists(st.floats(-23.9, 15.9), min_size=1, max_size=5))
def test_a_multiplier_has_16_bits_and_errs_by_less_than_2_to_the_minus_16(powers):
    ratio = 2.0 ** np.array(powers)
    value, shift = (np.asarray(v) for v in graded.multiplier("p", ratio))
    assert value.max() < 1 << 16
    assert value.min() >= 0
    assert shift.min() >= 0
    assert (np.abs(value / 2.0**shift / ratio - 1) <= 2.0**-16 * (1 + 1e-9)).all()


def test_a_multiplier_of_nothing_and_one_too_large():
    assert graded.multiplier("p", 0.0)[0] == 0
    with pytest.raises(RefusedError, match="65536") as refused:
        graded.multiplier("p", np.array([1.0, 2.0**16]))
    assert refused.value.code == "ND301"


@settings(max_examples=60, deadline=None)
@given(
    product=st.integers(1, 30).map(lambda bits: 1 << bits),
    factor=st.integers(0, DECAY_ONE),
    steps=st.integers(1, 200),
    more=st.floats(0, 4),
)
def test_a_synchronisation_never_leaves_its_state(product, factor, steps, more):
    first = int(product * more)
    exponent = graded.accumulator_exponent("s", product, np.array([factor]), steps, max(first, product))
    alpha = -(round(first / 2.0**exponent))
    for _ in range(steps):  # floors go away from zero below it: the worst sign
        alpha = -((-alpha * factor) >> 12) + ((-product) >> exponent)
        assert abs(alpha) <= STATE_MAX


def test_a_synchronisation_without_room_is_refused_with_bound_value_and_remedy():
    with pytest.raises(RefusedError) as refused:
        graded.accumulator_exponent("sync", 1 << 30, np.array([DECAY_ONE]), 100_000)
    error = refused.value
    assert error.code == "ND302"
    assert "'sync'" in str(error)
    assert "100000 ticks" in str(error)
    assert "1.07e+14" in str(error)
    assert str(STATE_MAX) in str(error)
    assert "--steps" in str(error)
    # with a decay the same number of ticks is no problem
    assert graded.accumulator_exponent("sync", 1 << 30, np.array([2048]), 100_000) == 9


def test_messages_of_few_bits_need_no_room_and_are_not_refused():
    assert graded.accumulator_exponent("sync", 1 << 6, np.array([DECAY_ONE]), 15) == 0


@given(st.integers(0, 99), st.sampled_from(["hd,hdl->hl", "hl,hdl->hd"]), st.floats(0.1, 2))
def test_the_unit_of_a_product_is_the_product_of_the_scales(seed, subscripts, factor):
    rng = np.random.default_rng(seed)
    heads, width, tokens = 2, 3, 4
    sizes = {"h": heads, "d": width, "l": tokens}
    operands, out = subscripts.split("->")
    views = [tuple(sizes[c] for c in letters) for letters in operands.split(",")]
    scales = []
    for letters, view in zip(operands.split(","), views, strict=True):
        kept = [sizes[c] if c in out else 1 for c in letters]
        scales.append(np.broadcast_to(2.0 ** rng.uniform(-12, 0, kept), view))
    shape = tuple(sizes[c] for c in out)
    populations = [RealPopulation(n, v, Source()) for n, v in (("a", views[0]), ("b", views[1]), ("c", shape))]
    product = RealProduct("p", "a", "b", "c", *views, subscripts, factor, "b")
    lowered = Lowered(tuple(populations), (), (product,), (), (), "last", 1)
    codings = {"a": Coding(scales[0], 16), "b": Coding(scales[1], 12)}
    unit, exponent = product_unit(lowered, product, codings, {})
    messages = [rng.integers(-(2**11), 2**11, v) for v in views]
    whole = np.einsum(subscripts, *messages)
    real = factor * np.einsum(subscripts, *(m * s for m, s in zip(messages, scales, strict=True)))
    np.testing.assert_allclose(whole / 2.0**exponent * unit, real, rtol=1e-12, atol=1e-12)
    (gone,) = {c for c in operands if c not in out and c != ","}
    assert sizes[gone] * 2 ** (15 + 11) / 2**exponent <= REACH
    assert exponent == 0 or sizes[gone] * 2 ** (15 + 11) / 2 ** (exponent - 1) > REACH


def test_products_of_what_the_host_sends_and_of_spikes():
    populations = tuple(RealPopulation(n, (3,), Source()) for n in "abc")
    product = RealProduct("p", "a", "b", "c", (3,), (3,), "i,i->i", 0.5, "b")
    lowered = Lowered(populations, (), (product,), ("a",), (), "last", 1)
    unit, exponent = product_unit(lowered, product, {}, {"a": InputCoding(0.25, 16, signed=True)})
    assert (float(unit), exponent) == (0.125, 0)  # b sends spikes


def test_thresholds_are_one_real_value_for_all_neurons():
    network = thinker()
    asked = graded_compile.request(network, graded_compile.samples(network, 20), coding="sigma-delta")
    made = graded_compile.quantise(replace(asked, threshold=0.1))
    (name,) = made.choices.thresholds
    seen = asked.observed[name.removesuffix(".delta")]
    largest = max(np.abs(seen.low).max(), np.abs(seen.high).max())
    neuron, scale = made.program.population(name).neuron, made.choices.message[name].scale
    assert isinstance(neuron, Delta)
    real = np.broadcast_to(neuron.vth, scale.shape) * scale
    assert (np.abs(real - 0.1 * largest) <= scale / 2 + 1e-12).all()
    nothing = graded_compile.quantise(replace(asked, threshold=0.0))
    assert not np.any(nothing.choices.thresholds[name])


def test_a_neuron_so_quiet_that_no_threshold_reaches_it_has_the_largest():
    network = thinker()
    asked = graded_compile.request(network, graded_compile.samples(network, 20), coding="sigma-delta")
    name = next(p.name for p in asked.lowered.populations if p.name.endswith(".delta"))
    shape = asked.lowered.population(name).shape
    message = {name: Coding(np.full(shape, 1e-12), 17)}
    found = graded.thresholds(asked.lowered, message, asked.observed, 0.5)
    assert np.all(found[name] == STATE_MAX)
