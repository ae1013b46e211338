"""The differentiable executor computes what the simulator computes, bit for bit; all that is trained has a gradient."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures_path import fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Case, cases
from trainable_programs import classifier, data

from ndeploy.check import biases, thresholds
from ndeploy.data import load
from ndeploy.decode import encode, for_data
from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import STATE_MAX
from ndeploy.ir.program import OutputPort, Population, Program
from ndeploy.neurons import CubaLif, Input, Neuron
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.plugins import target
from ndeploy.sim import run
from ndeploy.train import surrogate
from ndeploy.train.executor import ProgramNet
from ndeploy.train.neuron import TrainableNeuron, trainable
from ndeploy.train.spiking import TrainableLif
from ndeploy.train.synaptic import weight_range

SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


def assert_executes(program: Program, messages: dict[str, np.ndarray]) -> None:
    """Messages and state of every population equal the simulator's."""
    traces = run(program, messages, trace=True, kernels="numpy", counts=False).traces
    variables = {p.name: ("message", *p.neuron.state) for p in program.populations}
    for i in range(max(len(v) for v in variables.values())):
        ports = tuple(OutputPort(name, v[i]) for name, v in variables.items() if i < len(v))
        found = ProgramNet(replace(program, outputs=ports))(messages)
        for port in ports:
            key = f"spikes/{port.population}" if i == 0 else f"state/{port.population}/{port.variable}"
            value = found[port.population].detach().numpy()
            np.testing.assert_array_equal(value, traces[key], err_msg=key)


@settings(SETTINGS, max_examples=80)
@given(cases())
def test_random_programs(case: Case) -> None:
    assert_executes(*case)


@settings(SETTINGS, max_examples=60)
@given(cases(), st.integers(0, 2**16))
def test_what_was_trained_runs_as_it_was_trained(case: Case, seed: int) -> None:
    program, messages = case
    net = ProgramNet(program)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, latent in net.latents():
            span = 2.0 if name.startswith("weight") else 1.0
            latent.free += torch.from_numpy(rng.uniform(-span, span, tuple(latent.free.shape)))
    net.project()
    found = run(net.program(), messages, kernels="numpy", counts=False).outputs
    for name, value in net(messages).items():
        np.testing.assert_array_equal(value.detach().numpy(), found[name])
    for j in net.program().projections:
        low, high = weight_range(j)
        assert j.synapses.weight.min() >= low
        assert j.synapses.weight.max() <= high


@settings(SETTINGS, max_examples=40)
@given(cases())
def test_without_training_the_program_stays_as_it_is(case: Case) -> None:
    from ndeploy.ir.serial import to_parts

    program, _ = case
    tree, arrays = to_parts(program)
    again, others = to_parts(ProgramNet(program).program())
    assert tree == again
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


FIXTURES: dict[str, tuple[str, dict[str, str], int | None]] = {
    "spikformer": ("checkpoint.pth.tar", {}, None),
    "nir/mnist-conv": ("model.nir", {"source": "snntorch"}, 6),
    "nir/braille": ("model.nir", {"source": "snntorch"}, None),
}
"""File, settings, steps."""


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures(name: str) -> None:
    folder = fixture(name)
    model, given_, steps = FIXTURES[name]
    options = CompileOptions(calibration=folder / "calibration.npz", settings=given_, steps=steps)
    compiled = compile_model(folder / model, options).program
    samples = load(folder / "eval.npz", 3)
    program = for_data(compiled, samples.x)
    messages = encode(program, samples.x, samples.x_scale)
    net = ProgramNet(program)
    found, expected = net(messages), run(program, messages, counts=False).outputs
    for output, value in expected.items():
        np.testing.assert_array_equal(found[output].detach().numpy(), value)
    sum((value.double() ** 2).sum() for value in found.values()).backward()
    for latent_name, latent in net.latents():
        gradient = latent.free.grad
        assert gradient is not None, latent_name
        assert bool(gradient.isfinite().all()), latent_name
        assert bool(gradient.any()), latent_name


@settings(SETTINGS, max_examples=60)
@given(
    st.sampled_from(("zero", "subtract", "none")),
    st.sampled_from((4095, 3000)),
    st.sampled_from((0, 2048, 777)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_the_scan_has_the_values_and_gradients_of_single_steps(
    reset: str, du: int, dv: int, static: bool, large: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    neuron = CubaLif(
        du, dv, rng.integers(100, 5000, (3, 1)), bias=rng.integers(-300, 300, (3, 2)), input_bias=3, reset=reset,
        reset_amount=700, reset_value=40,
    )  # fmt: skip
    top = 1 << 17 if large else 100
    given_ = torch.from_numpy(rng.integers(-top, top, (11, 1 if static else 5, 3, 2)).astype(np.float64))
    found = []
    for over_steps in (TrainableLif.over_steps, TrainableNeuron.over_steps):
        own = trainable(neuron, (3, 2), {"in": top})
        entering = given_.clone().requires_grad_()
        spikes, _ = over_steps(own, {"in": entering.expand(-1, 5, -1, -1)})  # type: ignore[arg-type]
        weight = torch.from_numpy(np.random.default_rng(seed).normal(size=spikes.shape))
        (spikes * weight).sum().backward()
        gradients = [entering.grad] + [p.grad for p in own.parameters()]
        found.append((spikes, gradients))
    assert torch.equal(found[0][0].double(), found[1][0].double())
    for left, right in zip(found[0][1], found[1][1], strict=True):
        assert left is not None
        assert right is not None
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def test_parameters_keep_their_structure() -> None:
    program = classifier()
    hidden = program.populations[1].neuron
    assert isinstance(hidden, CubaLif)
    vth = np.repeat(np.arange(1, 5) * 640, 4).reshape(4, 2, 2)
    wide = Population("hidden", (4, 2, 2), replace(hidden, vth=vth, bias=7), 1)
    net = ProgramNet(replace(program, populations=(program.populations[0], wide, program.populations[2])))
    latents = dict(net.latents())
    assert tuple(latents["vth/hidden"].free.shape) == (4, 1, 1)
    assert tuple(latents["bias/hidden"].free.shape) == ()
    with torch.no_grad():
        latents["vth/hidden"].free += 0.1
        latents["bias/hidden"].free += 0.1
    neuron = net.program().populations[1].neuron
    assert isinstance(neuron, CubaLif)
    assert isinstance(neuron.bias, int)
    assert neuron.bias != 7
    assert isinstance(neuron.vth, np.ndarray)
    assert (neuron.vth == neuron.vth[:, :1, :1]).all()
    assert (neuron.vth > vth).all()


def test_fields_of_the_target_hold_what_is_trained() -> None:
    loihi1 = target("loihi1")
    program = classifier()
    hidden = program.populations[1]
    assert isinstance(hidden.neuron, CubaLif)
    fitted = replace(hidden, neuron=replace(hidden.neuron, vth=np.arange(1, 17) * 64, bias=np.arange(16) * 8))
    program = replace(program, populations=(program.populations[0], fitted, program.populations[2]))
    net = ProgramNet(program, target=loihi1)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _, latent in net.latents():
            latent.free += torch.from_numpy(rng.normal(0, 300, tuple(latent.free.shape)))
    net.project()
    trained = net.program()
    neuron = trained.populations[1].neuron
    assert isinstance(neuron, CubaLif)
    assert not (np.asarray(neuron.vth) % 64).any()
    assert np.abs(np.asarray(neuron.bias)).max() <= STATE_MAX
    assert not [*thresholds(trained, loihi1), *biases(trained, loihi1)]
    messages = encode(program, data(5).x)
    np.testing.assert_array_equal(net(messages)["out"].detach().numpy(), run(trained, messages).outputs["out"])


def test_latents_say_where_training_starts() -> None:
    program = classifier(4)
    weight = program.projections[0].synapses.weight.astype(float)
    net = ProgramNet(program, {"first": weight + 0.4})
    assert torch.equal(dict(net.latents())["weight/first"].real(), torch.from_numpy(np.clip(weight + 0.4, -8, 7)))
    np.testing.assert_array_equal(net.program().projections[0].synapses.weight, weight)


@pytest.mark.parametrize(
    "latents", [{"first": np.zeros(3)}, {"none": np.zeros((16, 12))}, {"first": np.full((16, 12), np.nan)}]
)
def test_bad_latents(latents: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError) as caught:
        ProgramNet(classifier(), latents)
    assert caught.value.code == "ND323"


def test_bad_messages() -> None:
    net = ProgramNet(classifier())
    good = encode(net.source, data(4).x)["in"]
    for messages in ({}, {"in": good[:, :2]}, {"in": good + 16}, {"in": good[:0]}):
        with pytest.raises(UsageError) as caught:
            net(messages)
        assert caught.value.code == "ND502"


def test_a_kind_without_a_trainable_form() -> None:
    class Unknown(Input):
        kind = "unknown"

    neuron: Neuron = Unknown()
    with pytest.raises(RefusedError, match="unknown") as caught:
        trainable(neuron, (1,))
    assert caught.value.code == "ND320"


def test_norse_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    surrogate.superspike.cache_clear()
    monkeypatch.setitem(sys.modules, "norse.torch.functional.superspike", None)
    with pytest.raises(UsageError, match="norse") as caught:
        surrogate.spike(torch.ones(1), 1.0)
    assert caught.value.code == "ND720"
    surrogate.superspike.cache_clear()


def test_the_surrogate_is_scaled_to_the_threshold() -> None:
    above = torch.tensor([-300.0, -1.0, 0.0, 1.0, 50.0], dtype=torch.float64)
    x = above * surrogate.SHARPNESS / 100
    expected = surrogate.SHARPNESS / 100 / (x.abs() + 1) ** 2
    torch.testing.assert_close(surrogate.slope(above, 100.0), expected)
    leaf = above.clone().requires_grad_()
    spikes = surrogate.spike(leaf, 100.0)
    assert spikes.tolist() == [0, 0, 0, 1, 1]
    spikes.sum().backward()
    torch.testing.assert_close(leaf.grad, expected)


def test_static_parts_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ndeploy.train.synaptic import DenseOperation

    rows = []
    own = DenseOperation.__call__
    monkeypatch.setattr(DenseOperation, "__call__", lambda self, x, w: (rows.append(len(x)), own(self, x, w))[1])
    program = classifier()
    ProgramNet(program)(encode(program, data(6).x))
    assert rows == [6, 6 * program.steps]
