"""Each way of computing sums, and each compiled neuron, at sizes and values that random programs do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ndeploy import oracle, sim
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import Compare, CubaLi, CubaLif, Input, Neuron, Relay
from ndeploy.sim import operators
from ndeploy.sim.chunk import TILE_BYTES
from ndeploy.sim.counts import fan_out
from ndeploy.sim.layout import convert, order
from ndeploy.sim.machine import machine
from ndeploy.sim.operators import Sent, operator
from ndeploy.synapses import Conv, Dense, Sparse, Synapses

Array = npt.NDArray[Any]


def exact(synapses: Synapses, rows: Array) -> Array:
    """Sums by the list of synapses, in Python-width integers of numpy."""
    target, source, index = synapses.to_coo()
    weight = synapses.weight.reshape(-1).astype(np.int64)[index]
    sums = np.zeros((len(rows), synapses.n_out), dtype=np.int64)
    for r, row in enumerate(rows):
        np.add.at(sums[r], target, weight * row.astype(np.int64)[source])
    return sums


def messages(n: int, low: int, high: int, density: float, rows: int = 5) -> tuple[Array, Sent]:
    rng = np.random.default_rng(n + rows)
    value = rng.integers(low, high + 1, size=(rows, n))
    value[0, : min(n, 3)] = high
    value[-1, : min(n, 3)] = low
    value = np.where(rng.random(value.shape) < density, value, 0)
    value[2] = high  # a row in which everything is sent at its largest
    dtype = np.int8 if max(high, -low) <= 127 else np.int32 if max(high, -low) < 2**31 else np.int64
    value = value.astype(dtype)
    return value, Sent(value[None], low, high, density)


def check(synapses: Synapses, low: int, high: int, density: float, layouts: tuple[int, int] = (1, 1)) -> None:
    rows, sent = messages(synapses.n_in, low, high, density)
    op = operator(synapses, *layouts)
    inside = np.ascontiguousarray(rows[:, order(synapses.n_in, layouts[0])])
    found = op.apply(inside, sent)
    expected = exact(synapses, rows)
    np.testing.assert_array_equal(np.asarray(found, dtype=np.int64), expected[:, order(synapses.n_out, layouts[1])])
    assert np.abs(expected).max() <= op.reach(sent.top)


MESSAGES = [
    (0, 1, 0.02),
    (0, 1, 0.5),
    (-1, 1, 0.5),
    (0, 127, 0.9),
    (0, 255, 0.5),
    (-(2**23), 2**23, 0.5),
    (0, 2**40, 1),
]


@pytest.mark.parametrize(("low", "high", "density"), MESSAGES)
@pytest.mark.parametrize(("w_low", "w_high"), [(-128, 127), (0, 255), (-255, 0), (-300, 300)])
def test_dense(low: int, high: int, density: float, w_low: int, w_high: int) -> None:
    weight = np.random.default_rng(1).integers(w_low, w_high + 1, size=(40, 700)).astype(np.int16)
    weight[0], weight[1] = w_low, w_high
    check(Dense(weight), low, high, density)


@pytest.mark.parametrize(("low", "high", "density"), MESSAGES)
@pytest.mark.parametrize(
    ("in_shape", "c_out", "kernel", "stride", "padding", "dilation", "groups"),
    [
        ((2, 12, 10), 16, (5, 5), (2, 2), (1, 1), (1, 1), 1),
        ((4, 8, 8), 3, (3, 3), (2, 2), (0, 2), (1, 1), 1),
        ((3, 9, 8), 4, (4, 2), (4, 4), (3, 0), (1, 1), 1),
        ((16, 8, 6), 8, (6, 6), (2, 2), (2, 2), (1, 1), 1),
        ((8, 7, 5), 8, (3, 2), (1, 2), (2, 1), (2, 1), 1),
        ((8, 6, 6), 16, (3, 3), (1, 1), (1, 1), (1, 1), 8),
        ((6, 5, 5), 4, (2, 2), (1, 1), (0, 1), (1, 2), 2),
        ((24, 7, 1), 9, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ],
)
def test_convolution(
    low: int, high: int, density: float, in_shape: Any, c_out: int, kernel: Any, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(2)
    weight = rng.integers(-128, 128, size=(c_out, in_shape[0] // groups, *kernel)).astype(np.int16)
    conv = Conv(weight, in_shape, stride, padding, dilation, groups)
    for layouts in ((1, c_out), (in_shape[0], c_out), (1, 1), (in_shape[0], 1)):
        check(conv, low, high, density, layouts)
    np.testing.assert_array_equal(fan_out(conv), Synapses.fan_out(conv))


def test_convolution_with_weights_wider_than_int8() -> None:
    weight = np.random.default_rng(2).integers(0, 256, size=(4, 3, 3, 3)).astype(np.int16)
    check(Conv(weight, (3, 6, 6), padding=(1, 1)), 0, 1, 0.5, (3, 4))


@pytest.mark.parametrize(("low", "high", "density"), MESSAGES)
@pytest.mark.parametrize("share", [0.005, 0.2])
def test_sparse(low: int, high: int, density: float, share: float) -> None:
    rng = np.random.default_rng(3)
    target, source = np.nonzero(rng.random((60, 90)) < share)
    weight = rng.integers(-128, 128, size=len(target)).astype(np.int16)
    check(Sparse(weight, target, source, 90, 60), low, high, density, (9, 6))
    index = np.arange(90)
    check(Sparse(np.full(90, -3, dtype=np.int16), index, index, 90, 90), low, high, density, (3, 3))


def test_without_integer_kernels_the_sums_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose torch has no exact int8 products."""
    slow = type(machine())(False, False, 1.0, 1e9, 1e9)
    monkeypatch.setattr(operators, "machine", lambda: slow)
    rng = np.random.default_rng(4)
    check(Dense(rng.integers(-128, 128, size=(40, 300)).astype(np.int16)), 0, 1, 0.5)
    check(Dense(rng.integers(0, 256, size=(40, 300)).astype(np.int16)), 0, 1, 0.01)
    check(Dense(rng.integers(-128, 128, size=(40, 300)).astype(np.int16)), -127, 127, 0.5)
    check(Conv(rng.integers(-128, 128, size=(4, 2, 3, 3)).astype(np.int16), (2, 6, 6), (2, 2), (1, 1)), -5, 127, 0.5)


def test_layouts_are_inverse() -> None:
    x = np.arange(2 * 24).reshape(2, 24)
    for have in (1, 2, 4, 24):
        for want in (1, 3, 24):
            moved = convert(x, have, want)
            np.testing.assert_array_equal(convert(moved, want, have), x)
    np.testing.assert_array_equal(convert(x, 1, 4), x[:, order(24, 4)])


def layer(neuron: Neuron, synapses: Synapses, shape: tuple[int, ...], bits: int, steps: int, **more: Any) -> Program:
    return Program(
        "test",
        (Population("in", (synapses.n_in,), Input(bits, bits > 1)), Population("out", shape, neuron, 1)),
        (Projection("w", "in", "out", synapses, **more),),
        (InputPort("in"),),
        (OutputPort("out", neuron.state[-1] if neuron.state else "message", "none"),),
        steps,
    )


@pytest.mark.parametrize(
    "neuron",
    [
        CubaLif(4095, 0, 6400),
        CubaLif(4095, 410, 64000, bias=-300),
        CubaLif(2000, 410, 64000),
        CubaLif(100, 3000, 100, reset="subtract", reset_amount=5000),
        CubaLif(4095, 100, 2**23 - 2, reset="none"),
        CubaLi(0, 0),
        CubaLi(4095, 30, emit_bits=9, emit_shift=8),
        Relay(8, True, 20),
        Compare(100, -20),
    ],
)
@pytest.mark.parametrize("exponent", [-2, 0, 5])
def test_neurons_over_many_steps(neuron: Neuron, exponent: int) -> None:
    """Long runs at the edge of 24 bits: wraps, saturation, decay of both signs."""
    rng = np.random.default_rng(5)
    synapses = Dense(rng.integers(-128, 128, size=(33, 600)).astype(np.int16))
    program = layer(neuron, synapses, (33,), 8, 40, exponent=exponent)
    x = {"in": rng.integers(-128, 128, size=(2, 40, 600))}
    expected = oracle.run(program, x)
    for trace in (False, True):
        found = sim.run(program, x, trace=trace, threads=1, kernels="compiled")
        np.testing.assert_array_equal(found.outputs["out"], expected.outputs["out"])
        assert found.overflow == expected.overflow
        np.testing.assert_array_equal(found.counts.spikes["out"], expected.counts.spikes["out"])
    np.testing.assert_array_equal(found.traces["spikes/out"], expected.traces["spikes/out"])


@pytest.mark.parametrize("steps", [3, 40])
def test_tiles_of_samples_and_of_steps(steps: int) -> None:
    """Populations so large that one sample's sums are several tiles, and so small that samples share one."""
    n = TILE_BYTES // (4 * 10)
    index = np.arange(n)
    wide = Sparse(np.ones(n, dtype=np.int16), index, index % 4, 4, n)
    small = Dense(np.full((2, 4), 3, dtype=np.int16))
    program = Program(
        "test",
        (
            Population("in", (4,), Input(4)),
            Population("wide", (n,), CubaLif(1000, 500, 900), 1),
            Population("small", (2,), CubaLif(1000, 500, 900), 2),
        ),
        (Projection("a", "in", "wide", wide), Projection("b", "in", "small", small, delay=2)),
        (InputPort("in"),),
        (OutputPort("small"),),
        steps,
    )
    x = {"in": np.random.default_rng(6).integers(0, 16, size=(3, steps, 4))}
    found = sim.run(program, x, trace=True, threads=1, kernels="compiled")
    expected = sim.run(program, x, trace=True, kernels="numpy")
    for name, trace in expected.traces.items():
        np.testing.assert_array_equal(found.traces[name], trace, err_msg=name)
    np.testing.assert_array_equal(found.counts.spikes["wide"], expected.counts.spikes["wide"])


@pytest.mark.parametrize("bits", [1, 8, 14, 24])
def test_products_of_any_width(bits: int) -> None:
    n = 40
    program = Program(
        "test",
        (
            Population("l", (2, 5, n), Input(bits)),
            Population("r", (2, n, 3), Input(bits)),
            Population("out", (2, 5, 3), Relay(62), 2),
        ),
        (),
        (InputPort("l"), InputPort("r")),
        (OutputPort("out"),),
        2,
        (Product("p", "l", "r", "out", (2, 5, n), (2, n, 3), "hij,hjk->hik", exponent=1),),
    )
    rng = np.random.default_rng(7)
    x = {k: rng.integers(0, 1 << bits, size=(2, 2, *program.population(k).shape)) for k in ("l", "r")}
    expected, found = oracle.run(program, x), sim.run(program, x, kernels="compiled")
    np.testing.assert_array_equal(found.outputs["out"], expected.outputs["out"])
    for kind in ("spikes", "synaptic_ops", "neuron_updates"):
        for name, value in getattr(expected.counts, kind).items():
            np.testing.assert_array_equal(getattr(found.counts, kind)[name], value, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int16, np.uint32, np.int64])
def test_messages_of_any_integer_type(dtype: Any) -> None:
    program = layer(Relay(16), Dense(np.array([[1, -2, 3]], dtype=np.int16)), (1,), 1, 2)
    x = np.array([[[1, 0, 1], [0, 1, 0]]]).astype(dtype)
    x.setflags(write=False)
    for kernels in ("compiled", "numpy"):
        assert sim.run(program, {"in": x}, kernels=kernels).outputs["out"].reshape(-1).tolist() == [4, -2]


def test_bad_messages_are_refused_by_name() -> None:
    from ndeploy.errors import UsageError

    program = layer(Relay(16), Dense(np.ones((1, 3), dtype=np.int16)), (1,), 1, 2)
    for bad in ({}, {"in": np.zeros((1, 3, 3), dtype=np.int64)}, {"in": np.zeros((1, 2, 3))}):
        with pytest.raises(UsageError, match="'in'"):
            sim.run(program, bad)
    with pytest.raises(UsageError, match="no samples"):
        sim.run(program, {"in": np.zeros((0, 2, 3), dtype=np.int64)})
