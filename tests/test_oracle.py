"""The oracle against arithmetic written out again here, in plain Python integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import delay_for, lag_of, programs

from ndeploy import oracle
from ndeploy.errors import RefusedError
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection, lag
from ndeploy.neurons import Compare, CubaLi, CubaLif, Input, Neuron, Relay, SigmaDelta, TernaryLif
from ndeploy.synapses import Conv, Dense, Sparse, Synapses
from ndeploy.synapses.sparse import identity


def one_layer(neuron: Neuron, synapses: Synapses, steps: int, bits: int = 8, **projection: object) -> Program:
    """input -> neuron, all neurons in a row."""
    return Program(
        "test",
        (
            Population("in", (synapses.n_in,), Input(bits, signed=True)),
            Population("out", (synapses.n_out,), neuron, 1),
        ),
        (Projection("w", "in", "out", synapses, **projection),),  # type: ignore[arg-type]
        (InputPort("in"),),
        (OutputPort("out", "message", "none"),),
        steps,
    )


def drive(neuron: Neuron, values: list[int], **projection: object) -> dict[str, list[int]]:
    """Traces of one neuron that receives these values over a unit synapse, by variable."""
    program = one_layer(neuron, identity(1), len(values), 32, **projection)
    result = oracle.run(program, {"in": np.array(values, dtype=np.int64).reshape(1, -1, 1)})
    return {name.split("/")[-1] if "state" in name else "sent": list(map(int, trace[0, :, 0]))
            for name, trace in result.traces.items() if "/out" in name}  # fmt: skip


def toward_zero(x: int, bits: int) -> int:
    return -((-x) >> bits) if x < 0 else x >> bits


def wrap(x: int) -> int:
    x = (x + 2**31) % 2**32 - 2**31
    if x > 2**23:
        x -= 2**24
    return x + 2**24 if x < -(2**23) + 1 else x


def test_lif_decay_rounds_toward_zero_on_both_sides() -> None:
    for start in (1000, -1000, 7, -7):
        found = drive(CubaLif(du=4095, dv=1000, vth=10**7), [start, 0, 0, 0, 0])
        v = start * 64
        expected = []
        for _ in range(5):
            expected.append(v)
            v = toward_zero(v * 3096, 12)
        assert found["v"] == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**26), 2**26), min_size=1, max_size=6),
    st.integers(0, 4095),
    st.integers(0, 4095),
    st.integers(0, 2**22),
)
def test_cuba_lif_against_python_integers(values: list[int], du: int, dv: int, vth: int) -> None:
    found = drive(CubaLif(du=du, dv=dv, vth=vth), values)
    u = v = 0
    for k, a in enumerate(values):
        u = wrap(toward_zero(u * (4095 - du), 12) + (a << 6))
        v = max(-(2**23 - 1), min(2**23 - 1, toward_zero(v * (4096 - dv), 12) + u))
        spike = int(v > vth)
        v = 0 if spike else v
        assert (found["u"][k], found["v"][k], found["sent"][k]) == (u, v, spike)


def test_current_wraps_once_and_membrane_saturates_and_both_are_counted() -> None:
    program = one_layer(CubaLif(du=4095, dv=0, vth=2**30), identity(1), 3, 32)
    result = oracle.run(program, {"in": np.array([2**17, 2**17 + 1, 2**17]).reshape(1, 3, 1)})
    # 2^17 << 6 is 2^23, the top of the range; one more wraps to -2^23 + 64
    np.testing.assert_array_equal(result.traces["state/out/u"][0, :, 0], [2**23, -(2**23) + 64, 2**23])
    np.testing.assert_array_equal(result.traces["state/out/v"][0, :, 0], [2**23 - 1, 63, 2**23 - 1])
    assert result.overflow == {"out": {"u-wrapped": 1, "v-saturated": 2}}
    with pytest.raises(RefusedError, match="'out'"):
        oracle.run(program, {"in": np.array([2**17 + 1, 0, 0]).reshape(1, 3, 1)}, strict=True)


def test_threshold_is_strict() -> None:
    assert drive(CubaLif(du=4095, dv=4095, vth=640), [10, 11])["sent"] == [0, 1]
    assert drive(Compare(vth=3, bias=1), [2, 3])["sent"] == [0, 1]
    assert drive(TernaryLif(4095, 4095, -640, 640), [10, -10, 11, -11])["sent"] == [0, 0, 1, -1]


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("zero", [0, 320, 0]),
        ("subtract", [140, 460, 600]),
        ("none", [640, 960, 1600]),
        ("zero-next", [640, 0, 640]),
        ("subtract-next", [640, 460, 1100]),
    ],
)
def test_resets(reset: str, expected: list[int]) -> None:
    # inputs 10, 5, 10 with threshold 500 and no leak, worked out by hand: u = 640, 320, 640
    neuron = CubaLif(du=4095, dv=0, vth=500, reset=reset, reset_amount=500)
    found = drive(neuron, [10, 5, 10])
    assert found["v"] == expected
    assert found["u"] == [640, 320, 640]


def test_refractory_holds_the_membrane_for_that_many_updates() -> None:
    found = drive(CubaLif(du=4095, dv=0, vth=100, refractory=2), [10, 10, 10, 10, 1, 1])
    assert found["sent"] == [1, 0, 0, 1, 0, 0]
    assert found["wait"] == [2, 1, 0, 2, 1, 0]
    assert found["v"] == [0, 0, 0, 0, 0, 0]


def test_readout_sends_its_membrane_shifted_and_saturating() -> None:
    found = drive(CubaLi(du=4095, dv=0, shift=0, emit_bits=4, emit_shift=2), [9, 100, -300])
    assert found["v"] == [9, 109, -191]
    assert found["sent"] == [2, 7, -8]


def test_sigma_delta_sends_changes_and_keeps_the_rest() -> None:
    found = drive(SigmaDelta(vth=5, relu=True), [3, 3, -10, 20])
    # sigma 3, 6, -4, 16; relu 3, 6, 0, 16; d = change + residue: 3, 6, 0, 16
    assert found["sigma"] == [3, 6, -4, 16]
    assert found["sent"] == [0, 6, -6, 16]
    assert found["residue"] == [3, 0, 0, 0]


def test_relay_drops_small_values_and_counts_payload_overflow() -> None:
    program = one_layer(Relay(bits=4, signed=True, vth=2), identity(1), 4)
    result = oracle.run(program, {"in": np.array([2, -3, 7, 8]).reshape(1, 4, 1)})
    assert list(result.outputs["out"][0, :, 0]) == [0, -3, 7, 8]
    assert result.overflow == {"out": {"payload-overflow": 1}}


@pytest.mark.parametrize(("exponent", "expected"), [(2, [28, -28]), (0, [7, -7]), (-1, [3, -4])])
def test_exponent_shifts_the_sum_not_the_terms(exponent: int, expected: list[int]) -> None:
    synapses = Dense(np.array([[3, 4], [-3, -4]], dtype=np.int16))
    program = one_layer(Relay(16), synapses, 1, exponent=exponent)
    result = oracle.run(program, {"in": np.ones((1, 1, 2), dtype=np.int64)})
    assert list(result.outputs["out"][0, 0]) == expected


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 1), (1, 2), (1, 1), 2),
        ((1, 2), (2, 1), (2, 1), 1),
        ((2, 2), (1, 1), (1, 2), 4),
    ],
)
def test_convolution_against_nested_loops(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-128, 128, size=(4, 4 // groups, 3, 2)).astype(np.int16)
    conv = Conv(weight, (4, 6, 5), stride, padding, dilation, groups)
    x = rng.integers(-2, 3, size=(4, 6, 5))
    _, out_h, out_w = conv.out_shape
    expected = np.zeros(conv.out_shape, dtype=np.int64)
    visits = 0
    for o, oy, ox, i, ky, kx in itertools.product(
        range(4), range(out_h), range(out_w), range(4 // groups), range(3), range(2)
    ):
        y = oy * stride[0] - padding[0] + ky * dilation[0]
        z = ox * stride[1] - padding[1] + kx * dilation[1]
        if 0 <= y < 6 and 0 <= z < 5:
            c = o // (4 // groups) * (4 // groups) + i
            expected[o, oy, ox] += int(weight[o, i, ky, kx]) * int(x[c, y, z])
            visits += int(x[c, y, z] != 0)
    program = one_layer(Relay(24), conv, 1)
    result = oracle.run(program, {"in": x.reshape(1, 1, -1).astype(np.int64)})
    np.testing.assert_array_equal(result.outputs["out"][0, 0], expected.reshape(-1))
    assert int(result.counts.synaptic_ops["w"][0]) == visits


def test_a_zero_weight_is_visited_and_a_zero_message_is_not() -> None:
    synapses = Sparse(np.array([0, 5, 2], dtype=np.int16), np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)
    program = one_layer(Relay(16), synapses, 2)
    result = oracle.run(program, {"in": np.array([[[1, 0], [0, 3]]])})
    assert int(result.counts.synaptic_ops["w"][0]) == 1 + 2
    assert int(result.counts.spikes["in"][0]) == 2
    assert int(result.counts.neuron_updates["out"][0]) == 4
    assert int(result.counts.neuron_updates["in"][0]) == 0


def test_delays_periods_and_lags() -> None:
    # period 2, the target updates at 1, 3, 5; a message sent at 0, 2, 4 with delay 4 arrives at 4, 6, 8: lag 2
    program = Program(
        "test",
        (Population("in", (1,), Input(8)), Population("out", (1,), Relay(16), 1)),
        (Projection("w", "in", "out", identity(1), delay=4),),
        (InputPort("in"),),
        (OutputPort("out"),),
        steps=4,
        period=2,
    )
    assert lag(program, "in", "out", 4) == 2
    result = oracle.run(program, {"in": np.array([5, 6, 7, 8]).reshape(1, 4, 1)})
    assert list(result.outputs["out"][0, :, 0]) == [0, 0, 5, 6]
    assert program.chip_steps_per_sample == 9


def test_delays_per_synapse_shift_each_delays_sum_apart() -> None:
    synapses = Dense(np.array([[3, 3]], dtype=np.int16))
    program = one_layer(Relay(16), synapses, 3, exponent=-1, delays=np.array([[0, 1]]))
    result = oracle.run(program, {"in": np.ones((1, 3, 2), dtype=np.int64)})
    assert list(result.outputs["out"][0, :, 0]) == [1, 2, 2]


def test_recurrence_consumes_the_step_before() -> None:
    program = Program(
        "test",
        (Population("in", (1,), Input(8)), Population("out", (1,), Relay(24), 1)),
        (Projection("w", "in", "out", identity(1)), Projection("r", "out", "out", identity(1, 2))),
        (InputPort("in"),),
        (OutputPort("out"),),
        steps=4,
    )
    result = oracle.run(program, {"in": np.array([1, 0, 0, 1]).reshape(1, 4, 1)})
    assert list(result.outputs["out"][0, :, 0]) == [1, 2, 4, 9]


def test_product_multiplies_messages_of_the_same_model_step() -> None:
    program = Program(
        "test",
        (
            Population("l", (2, 3), Input(4)),
            Population("r", (3, 2), Input(4), 1),
            Population("out", (2, 2), Relay(24), 3),
        ),
        (),
        (InputPort("l"), InputPort("r")),
        (OutputPort("out"),),
        steps=2,
        products=(Product("p", "l", "r", "out", (2, 3), (3, 2), "ij,jk->ik", exponent=1),),
    )
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 16, size=(1, 2, 2, 3)), rng.integers(0, 16, size=(1, 2, 3, 2))
    result = oracle.run(program, {"l": left, "r": right})
    for k in range(2):
        for i, j in itertools.product(range(2), range(2)):
            total = sum(int(left[0, k, i, n]) * int(right[0, k, n, j]) for n in range(3))
            assert int(result.outputs["out"][0, k, i, j]) == total >> 1


@settings(max_examples=100, deadline=None)
@given(programs())
def test_random_programs_are_valid(program: Program) -> None:
    offset = {p.name: p.offset for p in program.populations}
    for x in program.projections:
        assert x.delay >= 1
        assert lag(program, x.source, x.target, x.delay) >= 0
        assert lag(program, x.source, x.target, x.delay) == lag_of(
            offset[x.source], x.delay, offset[x.target], program.period
        )
        assert x.synapses.n_in == program.population(x.source).size
        assert x.synapses.n_out == program.population(x.target).size
    for y in program.products:
        assert lag_of(max(offset[y.left], offset[y.right]), y.delay, offset[y.target], program.period) >= 0


@given(st.integers(0, 4), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5))
def test_delay_for_is_the_smallest_valid_delay(least: int, source: int, target: int, period: int) -> None:
    delay = delay_for(least, source, target, period)
    assert delay >= 1
    assert lag_of(source, delay, target, period) >= least
    assert delay == 1 or lag_of(source, delay - 1, target, period) < least
