"""Trainable forms of graded neurons: the integer neuron's messages and states, the smooth function's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_builder import Builder, shape_of
from random_tick_neurons import KIND_CHOICES, neuron
from test_sim import SETTINGS

from ndeploy.fixed import STATE_MAX
from ndeploy.neurons import (
    KINDS,
    Affine,
    Delta,
    Gate,
    LayerNorm,
    Neuron,
    Register,
    Sigma,
    SigmaDelta,
    Silu,
    Softmax,
    Synchrony,
)
from ndeploy.neurons.base import State
from ndeploy.train.graded import FORMS
from ndeploy.train.graded_step import GradedNeuron
from ndeploy.train.latent import Latent
from ndeploy.wellformed_neurons import _bounds

Drawn = tuple[Neuron, tuple[int, ...], list[dict[str, np.ndarray]]]
STEPS = 4


@st.composite
def updates(draw: st.DrawFn) -> Drawn:
    """A random neuron, the shape of its population, and the inputs of some updates of some samples."""
    b = Builder(draw, np.random.default_rng(draw(st.integers(0, 2**32 - 1))), False, 1, STEPS)
    kind = b.choice((*KIND_CHOICES, "sigma-delta"))
    shape = shape_of(b)
    ports = KINDS[kind].ports
    reach = {port: 1 << b.integer(2, 11 if kind == "synchrony" else 22) for port in ports}
    if kind == "sigma-delta":
        exponents = b.integer(0, 3), b.integer(0, 2)
        found: Neuron = SigmaDelta(b.integer(0, 99), b.integer(-9, 9), b.chance(), *exponents, b.chance())
    else:
        found = neuron(b, kind, shape, reach)
    samples = b.integer(1, 3)
    inputs = [
        {port: b.rng.integers(-top, top + 1, size=(samples, *shape)) for port, top in reach.items()}
        for _ in range(STEPS)
    ]
    return found, shape, inputs


def form(found: Neuron, shape: tuple[int, ...], bounds: Mapping[str, int] | None = None) -> GradedNeuron[Any]:
    made = FORMS[type(found)](found, shape, bounds or {}, None)
    assert isinstance(made, GradedNeuron)
    return made


def tensors(arrays: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(a).to(dtype) for name, a in arrays.items()}


def assert_same_updates(made: GradedNeuron[Any], shape: tuple[int, ...], inputs: list[dict[str, np.ndarray]]) -> None:
    """Messages and states of the trainable form are those of its own integer neuron."""
    integer = made.integer()
    samples = len(next(iter(inputs[0].values())))
    state: State = integer.initial((samples, *shape))
    now = made.start(samples, shape)
    assert set(now) == set(integer.state)
    for k, arrived in enumerate(inputs):
        state, message = integer.step(state, arrived)
        now, sent = made(now, tensors(arrived), k)
        assert np.array_equal(sent.detach().numpy(), message)
        for name in integer.state:
            assert np.array_equal(now[name].detach().numpy(), state[name])


def moved(made: GradedNeuron[Any], seed: int, by: float) -> None:
    """Trained parameters take a step of that size, as an optimiser does: anywhere, then back into their fields."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for latent in latents(made).values():
            latent.free += torch.from_numpy(np.asarray(rng.normal(size=tuple(latent.free.shape)) * by))
            latent.project()


def latents(made: GradedNeuron[Any]) -> dict[str, Latent]:
    return {name: made.latent(name) for name in made.trained}


@settings(SETTINGS, max_examples=200)
@given(updates())
def test_updates_are_those_of_the_integer_neuron(drawn: Drawn) -> None:
    found, shape, inputs = drawn
    assert_same_updates(form(found, shape), shape, inputs)


@settings(SETTINGS, max_examples=100)
@given(updates(), st.integers(0, 2**16), st.sampled_from([1e-3, 0.1, 100.0]))
def test_updates_with_trained_parameters(drawn: Drawn, seed: int, by: float) -> None:
    found, shape, inputs = drawn
    made = form(found, shape)
    moved(made, seed, by)
    assert_same_updates(made, shape, inputs)


@settings(SETTINGS, max_examples=100)
@given(updates())
def test_an_untrained_neuron_comes_back_as_it_was(drawn: Drawn) -> None:
    found, shape, _ = drawn
    again = form(found, shape).integer()
    assert type(again) is type(found)
    for name, value in vars(found).items():
        assert type(getattr(again, name)) is type(value)
        assert np.array_equal(getattr(again, name), value)


@settings(SETTINGS, max_examples=100)
@given(updates(), st.integers(0, 2**16))
def test_trained_parameters_fit_their_fields_and_keep_their_structure(drawn: Drawn, seed: int) -> None:
    found, shape, _ = drawn
    made = form(found, shape)
    moved(made, seed, 1e6)
    trained = made.integer()
    for name, value in vars(found).items():
        assert np.shape(getattr(trained, name)) == np.shape(value)
        if name not in made.trained:
            assert np.array_equal(getattr(trained, name), value)
    for name, low, high in _bounds(trained):
        assert low <= np.min(getattr(trained, name)) <= np.max(getattr(trained, name)) <= high
    for name in ("bias", "gate_bias"):
        if name in made.trained:
            assert np.abs(getattr(trained, name)).max() <= max(STATE_MAX, np.abs(getattr(found, name)).max())


def test_a_bias_leaves_room_for_the_sum() -> None:
    made = form(Affine(8, bias=np.array([5, -7]), multiplier=60000, shift=20), (2,), {"in": STATE_MAX - 1000})
    moved(made, 0, 1e9)
    assert np.abs(made.integer().bias).tolist() == [1000, 1000]


def test_what_is_trained() -> None:
    by = dict(multiplier=np.array([40000, 60000]), shift=np.array([20, 21]))
    cases: dict[Neuron, set[str]] = {
        Affine(16, bias=np.array([1, 2]), **by): {"bias", "multiplier"},
        Affine(16, **by): {"multiplier"},
        Affine(16): set(),
        Gate(16, True, 3, 4, 50000, 20, 40000, 20): {"bias", "gate_bias", "gate_multiplier", "multiplier"},
        Silu(16, True, 3, 50000, 20, 40000, 20): {"bias", "gate_multiplier", "multiplier"},
        LayerNorm(16, (2,), 0, 1, 0, 50000, 10, np.array([-400, 60000]), np.array([-(2**20), 9]), 16): {
            "multiplier",
            "gain",
            "offset",
        },
        Softmax(12, (2,), 50000, 20): {"multiplier"},
        Register(16, np.array([3, 4])): set(),
    }
    for found, names in cases.items():
        assert set(form(found, (2,)).trained) == names, found


def gradients(
    made: GradedNeuron[Any], shape: tuple[int, ...], inputs: list[dict[str, np.ndarray]], weight: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Of sum(weight * message) over all updates, by input port and step, and by parameter (of its integers)."""
    arrived = [{p: x.requires_grad_() for p, x in tensors(one).items()} for one in inputs]
    state = made.start(len(weight[0]), shape)
    total = torch.zeros((), dtype=torch.float64)
    for k, one in enumerate(arrived):
        state, message = made(state, one, k)
        total = total + (message * torch.from_numpy(weight[k])).sum()
    total.backward()
    found = {f"{p}{k}": x.grad.numpy() for k, one in enumerate(arrived) for p, x in one.items() if x.grad is not None}
    found |= {
        name: x.free.grad.numpy() / np.asarray(x.unit) for name, x in latents(made).items() if x.free.grad is not None
    }
    return found


def slope(
    made: GradedNeuron[Any],
    shape: tuple[int, ...],
    inputs: list[dict[str, np.ndarray]],
    weight: list[np.ndarray],
    name: str,
    direction: np.ndarray,
) -> float:
    """The same, by a central difference of the integer neuron along `direction`, in whole numbers."""

    def value(sign: int) -> float:
        changed = [dict(one) for one in inputs]
        integer = made.neuron
        for k, one in enumerate(changed):
            for port in one:
                if name == f"{port}{k}":
                    one[port] = one[port] + sign * direction
        if name in made.trained:
            integer = replace(integer, **{name: getattr(integer, name) + sign * direction})
        state = integer.initial((len(weight[0]), *shape))
        total = 0.0
        for k, one in enumerate(changed):
            state, message = integer.step(state, one)
            total += float((message * weight[k]).sum())
        return total

    return (value(1) - value(-1)) / 2


RNG = np.random.default_rng(5)
N = 6


def near(middle: int) -> np.ndarray:
    return middle + RNG.integers(-9999, 10000, N)


LARGE: dict[str, tuple[Neuron, dict[str, int]]] = {
    # messages of 24 bits: a unit of rounding is small beside what a step of the difference changes
    "affine": (Affine(24, True, near(50000), 14, near(0)), {"in": 10**6}),
    "relu": (Affine(24, False, 50000, 14, near(0)), {"in": 10**6}),
    "gate": (
        Gate(24, True, near(0), near(0) * 10, 50000, 22, near(50000), 14),
        {"in": 10**6, "gate": 10**6},
    ),
    "silu": (Silu(24, True, near(0) * 10, 50000, 22, 50000, 14), {"in": 10**6}),
    "layer-norm": (
        LayerNorm(24, (2, 3), 1, 5, near(0), near(50000), 16, near(40000), near(0) * 400, 6),
        {"in": 500000},
    ),
    "layer-norm-first-axis": (LayerNorm(24, (3, 2), 0, 5, 0, near(50000), 16, near(40000), 0, 6), {"in": 500000}),
    "softmax": (Softmax(24, (2, 3), near(55000), 22), {"in": 10**6}),
    "synchrony": (
        Synchrony(24, RNG.integers(2000, 4097, N), RNG.integers(30000, 60000, (3, N)), 1, near(0), 15),
        {"left": 2000, "right": 2000},
    ),
    "register": (Register(24, near(0)), {"in": 10**6}),
}


@pytest.mark.parametrize("case", LARGE)
def test_gradients_are_those_of_the_smooth_function(case: str) -> None:
    found, reach = LARGE[case]
    shape = (N,)
    rng = np.random.default_rng(3)
    steps = 5 if found.state else 1
    inputs = [{p: rng.integers(-top, top, (3, N)) for p, top in reach.items()} for _ in range(steps)]
    weight = [rng.normal(size=(3, N)) for _ in range(steps)]
    made = form(found, shape)
    exact = gradients(made, shape, inputs, weight)
    assert set(made.trained) <= set(exact)
    assert {f"{p}{k}" for p in reach for k in range(steps)} <= set(exact)
    for name, gradient in exact.items():
        top = 1000 if name in made.trained and "bias" not in name else max(reach.values()) // 100
        for trial in range(3):
            size = np.shape(getattr(found, name)) if name in made.trained else (3, N)
            direction = np.asarray(rng.integers(top // 2, top, size) * rng.choice([-1, 1], size))
            full = np.broadcast_to(gradient, size) / (np.prod(size) / gradient.size)
            expected = slope(made, shape, inputs, weight, name, direction)
            norm = float(np.linalg.norm(full) * np.linalg.norm(direction))
            # tables are straight between entries: 1.2 % of a sigmoid's slope, 0.5 % of a power of two's
            assert abs(float((full * direction).sum()) - expected) < 0.02 * norm + 3, (name, trial)


def test_no_gradient_where_the_message_is_clipped() -> None:
    made = form(Affine(8, True, 256, 8), (4,))
    x = torch.tensor([[127.0, 128.0, -128.0, -129.0]], dtype=torch.float64, requires_grad=True)
    made(made.start(1, (4,)), {"in": x}, 0)[1].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 0, 1, 0]]
    relu = form(Affine(8, False, 256, 8), (4,))
    x = torch.tensor([[0.0, -1.0, 255.0, 256.0]], dtype=torch.float64, requires_grad=True)
    relu(relu.start(1, (4,)), {"in": x}, 0)[1].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 0, 1, 0]]


def test_gradients_pass_through_what_sigma_and_delta_hold() -> None:
    coder, decoder = form(Delta(5, 1, 1), (3,)), form(Sigma(24), (3,))
    rng = np.random.default_rng(0)
    x = [torch.tensor(rng.integers(-99, 99, (2, 3)), dtype=torch.float64, requires_grad=True) for _ in range(6)]
    sent, held = coder.start(2, (3,)), decoder.start(2, (3,))
    for k, one in enumerate(x):
        sent, message = coder(sent, {"in": one}, k)
        held, value = decoder(held, {"in": message}, k)
    value.sum().backward()
    # what the receivers know is 2 x, whatever was sent on the way
    assert x[-1].grad is not None
    assert (x[-1].grad == 2).all()
    assert all(one.grad is None or (one.grad == 0).all() for one in x[:-1])


def test_messages_come_in_the_floats_of_the_inputs() -> None:
    made = form(Affine(16, True, 60000, 20), (3,))
    inputs = {"in": np.array([[1 << 23, -(1 << 22), 5]])}
    for dtype in (torch.float32, torch.float64):
        _, message = made(made.start(1, (3,)), tensors(inputs, dtype), 0)
        assert message.dtype == dtype
        assert np.array_equal(message.detach().numpy(), made.integer().step({}, inputs)[1])


def test_every_neuron_has_a_unit_of_its_own() -> None:
    shift = np.array([[6, 10, 14], [7, 11, 15]])
    latent = form(Affine(9, True, 256, shift, np.array([[1, 2, 3], [4, 5, 6]])), (2, 3)).latent("bias")
    assert np.array_equal(np.asarray(latent.unit), 255 / 16 * 2.0 ** (shift - 8) / 64)
    # one number for both rows: the middle of what they would take
    latent = form(Affine(9, True, 256, shift, np.array([1, 2, 3])), (2, 3)).latent("bias")
    assert np.array_equal(np.asarray(latent.unit), 1.5 * 255 / 16 * 2.0 ** (shift[0] - 8) / 64)
    with torch.no_grad():
        latent.free += 1e9
    latent.project(bounded=True)
    assert np.allclose(latent.real().detach().numpy(), [1, 2, 3] + 0.5 * 1.5 * 255 / 16 * 2.0 ** shift[0] / 256)
    latent.become(np.array([7, 8, 9]))
    assert latent.integer().tolist() == [7, 8, 9]
