"""The graded neurons against arithmetic written out again: Python integers for what they compute, real functions for
the error bounds of their docstrings."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_builder import Builder
from random_tick_neurons import KIND_CHOICES, neuron

from ndeploy.neurons import KINDS, Affine, Delta, Gate, LayerNorm, Register, Sigma, Silu, Softmax, Synchrony

SUMS = st.integers(-(2**23) + 1, 2**23 - 1)
BITS = st.integers(2, 16)
FACTOR = st.integers(0, 2**16 - 1)
SHIFT = st.integers(0, 40)
QUICK = settings(max_examples=150, deadline=None)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def rs(x: int, bits: int) -> int:
    return half_up(Fraction(x, 2**bits))


def clip(x: int, bits: int, signed: bool = True) -> int:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return max(low, min(high, x))


def toward_zero(x: int, bits: int) -> int:
    return -((-x) >> bits) if x < 0 else x >> bits


def sigmoid(x: int) -> int:
    """The table of 1/16 and a line between its entries, in Python integers."""
    at, part = divmod(max(-(2**16), min(2**16, x)), 256)
    low, high = (round(2**15 / (1 + math.exp(-i / 16))) for i in (at, at + 1))
    return low + rs((high - low) * part, 8)


def exp2(x: int) -> int:
    at, part = divmod(x % 4096, 64)
    low, high = (round(2 ** (16 - i / 64)) for i in (at, at + 1))
    return (low + rs((high - low) * part, 6)) >> (x // 4096)


def step(model, state=None, **inputs):
    """(state, message) of one neuron as Python integers."""
    shape = next(iter(inputs.values())).shape if isinstance(next(iter(inputs.values())), np.ndarray) else (1,)
    arrays = {
        name.rstrip("_"): np.broadcast_to(np.asarray(value, dtype=np.int64), shape) for name, value in inputs.items()
    }
    after, message = model.step(model.initial(shape) if state is None else state, arrays)
    return after, [int(m) for m in message.reshape(-1)]


@QUICK
@given(SUMS, st.integers(-(2**20), 2**20), FACTOR, SHIFT, BITS, st.booleans())
def test_affine(a: int, bias: int, multiplier: int, shift: int, bits: int, signed: bool) -> None:
    _, sent = step(Affine(bits, signed, multiplier, shift, bias), in_=a)
    assert sent == [clip(half_up(Fraction((a + bias) * multiplier, 2**shift)), bits, signed)]


@QUICK
@given(st.floats(0.01, 0.99), SUMS)
def test_affine_with_a_multiplier_of_16_bits_follows_the_real_factor(rho: float, a: int) -> None:
    shift = 15 - math.floor(math.log2(rho))
    multiplier = min(2**16 - 1, round(rho * 2**shift))
    _, sent = step(Affine(32, True, multiplier, shift), in_=a)
    assert abs(sent[0] - rho * a) <= abs(rho * a) * 2**-16 * (1 + 2**-15) + 0.5


@QUICK
@given(SUMS, SUMS, st.tuples(FACTOR, SHIFT), st.tuples(FACTOR, SHIFT), BITS, st.booleans(), st.integers(-99, 99))
def test_gate_and_silu(a, a_gate, gating, scaling, bits: int, signed: bool, bias: int) -> None:
    def expected(v: int, g: int) -> list[int]:
        opened = sigmoid(rs(g * gating[0], gating[1]))
        return [clip(rs(rs(v * opened, 15) * scaling[0], scaling[1]), bits, signed)]

    gate = Gate(bits, signed, bias, -bias, *gating, *scaling)
    assert step(gate, in_=a, gate=a_gate)[1] == expected(a + bias, a_gate - bias)
    assert step(Silu(bits, signed, bias, *gating, *scaling), in_=a)[1] == expected(a + bias, a + bias)


@settings(max_examples=400, deadline=None)
@given(SUMS, st.integers(-(2**17), 2**17), st.integers(2**15, 2**16 - 1), st.integers(10, 20), SHIFT)
def test_gate_keeps_its_error_bound(v: int, a_gate: int, gate_multiplier: int, gate_shift: int, shift: int) -> None:
    multiplier = 40000
    _, sent = step(Gate(42, True, 0, 0, gate_multiplier, gate_shift, multiplier, shift), in_=v, gate=a_gate)
    g = a_gate * gate_multiplier / 2**gate_shift / 4096
    rho = multiplier / 2**shift
    real = v / (1 + math.exp(-g)) * rho if g > -700 else 0.0
    assert abs(sent[0] - real) <= (1e-4 * abs(v) + 0.5) * rho + 0.5


def layer_norm(x: list[int], epsilon: int) -> list[int]:
    n = len(x)
    c = [value - half_up(Fraction(sum(x), n)) for value in x]
    root = max(1, math.isqrt((sum(value * value for value in c) // n + epsilon) << 16))
    return [half_up(Fraction(value << 20, root)) for value in c]


@QUICK
@given(
    st.lists(SUMS, min_size=1, max_size=12),
    st.integers(1, 2**20),
    st.tuples(FACTOR, st.integers(8, 30)),
    st.tuples(st.integers(-(2**16) + 1, 2**16 - 1), st.integers(-(2**30), 2**30), st.integers(0, 30)),
    BITS,
)
def test_layer_norm(sums: list[int], epsilon: int, aligning, affine, bits: int) -> None:
    model = LayerNorm(bits, (len(sums),), 0, epsilon, 3, *aligning, *affine)
    limit = 2**20 - 1
    x = [max(-limit, min(limit, half_up(Fraction((a + 3) * aligning[0], 2 ** aligning[1])))) for a in sums]
    gain, offset, shift = affine
    expected = [clip(rs(y * gain + offset, shift), bits) for y in layer_norm(x, epsilon)]
    inputs = np.array(sums)
    assert step(model, in_=inputs)[1] == expected
    beyond = sum(abs(half_up(Fraction((a + 3) * aligning[0], 2 ** aligning[1]))) > limit for a in sums)
    assert model.overflow({}, {"in": inputs})["aligned-saturated"] == beyond


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 60), st.sampled_from((3, 30, 1000, 2**15, 2**19)), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_layer_norm_keeps_its_error_bound(n: int, spread: int, epsilon: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-spread, spread + 1, size=n) + rng.integers(-spread, spread + 1)
    x = np.clip(x, -(2**20) + 1, 2**20 - 1)
    found = np.array(step(LayerNorm(40, (n,), 0, epsilon), in_=x)[1])
    mean = x.mean()
    real = 4096 * (x - mean) / math.sqrt(x.var() + epsilon)
    rounded = math.floor(mean + 0.5)
    variance = int(((x - rounded) ** 2).sum()) // n + epsilon
    sigma = math.sqrt(variance)
    floors = (1 + 1 / (2 * variance)) * (1 + 1 / (256 * sigma - 1)) - 1
    bound = np.abs(real) * floors + (2048 / sigma) * (1 + floors) + 0.5
    assert (np.abs(found - real) <= bound * (1 + 1e-9) + 1e-6).all()


def test_layer_norm_along_each_axis_of_its_view() -> None:
    rng = np.random.default_rng(0)
    sums = rng.integers(-5000, 5000, size=(5, 6, 4))
    for axis in (0, 1, 2):
        model = LayerNorm(24, (2, 3, 4), axis, 5)
        found = model.step({}, {"in": sums})[1]
        for sample, out in zip(sums, found, strict=True):
            expected = np.apply_along_axis(lambda row: np.array(layer_norm(list(map(int, row)), 5)), axis, sample.reshape(2, 3, 4))  # fmt: skip  # noqa: E501
            np.testing.assert_array_equal(out, expected.reshape(6, 4))


def test_layer_norm_of_the_largest_sums_of_a_large_group_fits_64_bits() -> None:
    n = 1 << 20
    x = np.where(np.arange(n) % 2, 2**20 - 1, -(2**20) + 1)
    found = LayerNorm(16, (n,), 0, 1 << 40).step({}, {"in": x})[1]
    # both at sigma = sqrt(2) of their distance: V is the square and an epsilon as large
    assert set(found.tolist()) == {2896, -2896}
    one = np.zeros(n, dtype=np.int64)
    one[7] = 2**20 - 1
    found = LayerNorm(24, (n,), 0, 1).step({}, {"in": one})[1]
    assert 4096 * 700 < found[7] <= 4113 * 1024
    assert abs(found[7] - 4096 * (2**20 - 2) / math.sqrt((2**20 - 1) ** 2 / n + 1)) < 4113 * 4


@QUICK
@given(st.lists(SUMS, min_size=1, max_size=12), FACTOR, st.integers(0, 40), st.integers(1, 16))
def test_softmax(sums: list[int], multiplier: int, shift: int, bits: int) -> None:
    x = [half_up(Fraction(a * multiplier, 2**shift)) for a in sums]
    e = [exp2(max(x) - value) for value in x]
    expected = [half_up(Fraction(value * (2**bits - 1), sum(e))) for value in e]
    assert step(Softmax(bits, (len(sums),), multiplier, shift), in_=np.array(sums))[1] == expected


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 80),
    st.sampled_from((0, 100, 5000, 60000, 2**20)),
    st.integers(0, 6),
    st.sampled_from((8, 16)),
    st.integers(0, 2**32 - 1),
)
def test_softmax_keeps_its_error_bound(n: int, spread: int, shift: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = rng.integers(-spread, spread + 1, size=n)
    if seed % 3 == 0:
        sums[1:] = sums[0] - (16 << 12 + shift) - rng.integers(0, 64, size=n - 1)  # all that vanishes at once
    unit = 2**bits - 1
    found = np.array(step(Softmax(bits, (n,), 1, shift), in_=sums)[1]) / unit
    real = np.exp2((sums - sums.max()) / 2.0 ** (12 + shift))
    total = real.sum()
    share = real / total
    bound = 1.7e-4 * (1 + 2.6e-5 * n) * share + 2.6e-5 * (1 + n * share) / total + 0.5 / unit
    assert (np.abs(found - share) <= bound).all()


def test_softmax_mixes_the_last_axis_of_its_view_only() -> None:
    rng = np.random.default_rng(1)
    sums = rng.integers(-9000, 9000, size=(3, 8))
    found = Softmax(12, (2, 4)).step({}, {"in": sums})[1]
    for sample, out in zip(sums, found, strict=True):
        for head in (slice(0, 4), slice(4, 8)):
            assert step(Softmax(12, (4,)), in_=sample[head])[1] == list(out[head])


@QUICK
@given(
    st.lists(st.tuples(st.integers(-(2**15), 2**15), st.integers(-(2**15), 2**15)), min_size=1, max_size=8),
    st.integers(0, 4096),
    st.integers(0, 12),
    st.integers(-(2**22), 2**22),
    st.lists(st.integers(-(2**16) + 1, 2**16 - 1), min_size=1, max_size=10),
    st.integers(0, 30),
)
def test_synchrony(pairs, factor: int, exponent: int, start: int, table: list[int], shift: int) -> None:
    model = Synchrony(16, factor, np.array(table).reshape(-1, 1), exponent, start, shift)
    state = model.initial((1,))
    alpha, exact, worst = start, Fraction(start), 0
    clipped = False
    for k, (left, right) in enumerate(pairs):
        raw = toward_zero(alpha * factor, 12) + (left * right + (1 << exponent >> 1) >> exponent)
        alpha = max(-(2**23) + 1, min(2**23 - 1, raw))
        clipped = clipped or alpha != raw
        exact = exact * Fraction(factor, 4096) + Fraction(left * right, 2**exponent)
        worst += 1 + (exponent > 0)
        row = table[min(k, len(table) - 1)]
        state, sent = step(model, state, left=left, right=right)
        assert (int(state["alpha"][0]), int(state["tick"][0])) == (alpha, k + 1)
        assert sent == [clip(rs(alpha * row, shift), 16)]
        # the docstring's bound: less than k units, and as many of floor where there is an exponent
        assert clipped or abs(alpha - exact) <= worst


def test_synchrony_takes_parameters_by_neuron_in_several_axes_and_leading_samples() -> None:
    rng = np.random.default_rng(2)
    table = rng.integers(-900, 900, size=(2, 6))
    factor, start, shift = rng.integers(0, 4097, (2, 3)), rng.integers(-99, 99, (3,)), rng.integers(0, 9, (2, 1))
    model = Synchrony(20, factor, table, 1, start, shift)
    left, right = rng.integers(-99, 99, size=(2, 4, 2, 3))
    state = {k: np.broadcast_to(v, (4, 2, 3)) for k, v in model.initial((2, 3)).items()}
    after, sent = model.step(state, {"left": left, "right": right})
    for sample in range(4):
        for i in range(2):
            for j in range(3):
                one = Synchrony(20, int(factor[i, j]), table[:, [3 * i + j]], 1, int(start[j]), int(shift[i, 0]))
                after_one, sent_one = step(one, left=int(left[sample, i, j]), right=int(right[sample, i, j]))
                assert sent_one == [int(sent[sample, i, j])]
                assert int(after_one["alpha"][0]) == int(after["alpha"][sample, i, j])


def test_register_gives_its_start_once_and_then_what_arrives() -> None:
    model = Register(8, np.array([5, -3]))
    state = model.initial((2,))
    assert state["held"].tolist() == [5, -3]
    state, sent = step(model, state, in_=np.array([1, 0]))
    assert (sent, state["held"].tolist()) == ([6, -3], [0, 0])
    assert step(model, state, in_=np.array([127, -128]))[1] == [127, -128]
    assert model.overflow(state, {"in": np.array([128, -129])}) == {"payload-overflow": 2}


def test_sigma_and_delta_begin_at_their_start_and_rebuild_the_signal() -> None:
    delta, sigma = Delta(vth=4, start=np.array([10, -10])), Sigma(24, np.array([10, -10]))
    held, total = delta.initial((2,)), sigma.initial((2,))
    assert held["act"].tolist() == [10, -10]
    for value, change, rebuilt in (([12, -10], [0, 0], [10, -10]), ([14, -14], [4, -4], [14, -14]), ([0, 0], [-14, 14], [0, 0])):  # fmt: skip  # noqa: E501
        held, sent = step(delta, held, in_=np.array(value))
        assert sent == change
        total, out = step(sigma, total, in_=np.array(sent))
        assert out == rebuilt


@st.composite
def populations(draw):
    b = Builder(draw, np.random.default_rng(draw(st.integers(0, 2**32 - 1))), False, 1, 4, graded=True)
    kind = draw(st.sampled_from(KIND_CHOICES))
    shape = draw(st.sampled_from(((1,), (6,), (2, 3), (2, 1, 4))))
    reach = {port: 10 ** draw(st.integers(1, 5)) for port in KINDS[kind].ports}
    return neuron(b, kind, shape, reach), shape, reach, b.rng


@settings(max_examples=250, deadline=None)
@given(populations())
def test_a_step_is_pure_and_samples_do_not_meet(case) -> None:
    model, shape, reach, rng = case
    samples = 3
    inputs = [
        {port: rng.integers(-top, top + 1, size=(samples, *shape)) for port, top in reach.items()} for _ in range(3)
    ]
    state = {k: np.repeat(v[None], samples, axis=0) for k, v in model.initial(shape).items()}
    alone = [model.initial(shape) for _ in range(samples)]
    for given_ in inputs:
        before = [v.copy() for v in (*given_.values(), *state.values())]
        counted = model.overflow(state, given_)
        after, sent = model.step(state, given_)
        for old, new in zip(before, (*given_.values(), *state.values()), strict=True):
            np.testing.assert_array_equal(old, new)
        assert sent.shape == (samples, *shape)
        assert sent.dtype == np.int64
        total: dict[str, int] = dict.fromkeys(counted, 0)
        for i in range(samples):
            mine = {port: value[i] for port, value in given_.items()}
            for event, n in model.overflow(alone[i], mine).items():
                total[event] += n
            alone[i], one = model.step(alone[i], mine)
            np.testing.assert_array_equal(one, sent[i])
            for name in model.state:
                np.testing.assert_array_equal(alone[i][name], after[name][i])
        assert counted == total
        assert tuple(after) == model.state or set(after) == set(model.state)
        state = after


def test_saturation_is_counted_but_for_what_an_unsigned_payload_cuts_off() -> None:
    sums = {"in": np.array([300, 255, 0, -5, 2**23])}
    assert Affine(8, signed=False).overflow({}, sums) == {"payload-saturated": 2, "input-overflow": 1}
    assert Affine(8).overflow({}, sums) == {"payload-saturated": 3, "input-overflow": 1}
    assert Gate(24).overflow({}, {"in": np.array([1]), "gate": np.array([2**23])})["gate-overflow"] == 1
    assert Softmax(8, (5,)).overflow({}, sums) == {"input-overflow": 1}
    model = Synchrony(8, 4096, np.array([[1]]), start=2**23 - 2)
    found = model.overflow(model.initial((1,)), {"left": np.array([2]), "right": np.array([1])})
    assert found == {"payload-saturated": 1, "alpha-saturated": 1}


@pytest.mark.parametrize("kind", KIND_CHOICES)
def test_embedded_kinds_say_what_they_cost(kind: str) -> None:
    embedded = kind in ("layer-norm", "softmax")
    assert KINDS[kind].embedded == embedded
