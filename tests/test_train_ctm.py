"""Programs that think in ticks, in the differentiable executor: the simulator's messages, and gradients everywhere."""

from __future__ import annotations

from dataclasses import replace

import graded_compile
import numpy as np
import pytest
import torch
from fixtures_path import fixture
from graded_networks import thinker
from hypothesis import given, settings
from random_ctm import machine
from random_programs import Case, cases
from synthetic_ctm import Size, samples, synthetic
from test_sim import SETTINGS
from tiny_ctm import Choices

from ndeploy import sim, wellformed
from ndeploy.data import load
from ndeploy.decode import encode, predict
from ndeploy.fixed import IntArray
from ndeploy.ir.program import OutputPort, Program
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.synapses import Conv
from ndeploy.train.executor import ProgramNet
from ndeploy.train.finetune import Tuning, finetune
from ndeploy.train.objective import objective
from ndeploy.train.real_mantissas import real_mantissas
from ndeploy.train.synaptic import BlockOperation, ConvOperation

Messages = dict[str, IntArray]


def open_up(program: Program) -> Program:
    """The program with every population's messages as an output."""
    every = tuple(OutputPort(p.name, "message", "none") for p in program.populations if p.neuron.message.bits)
    return replace(program, outputs=every)


def assert_equal(net: ProgramNet, program: Program, messages: Messages) -> None:
    """Every message of every population is the simulator's."""
    with torch.no_grad():
        found = net(messages)
    expected = sim.run(program, messages, counts=False).outputs
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.array_equal(found[name].numpy(), value), name


def check(program: Program, messages: Messages) -> ProgramNet:
    """As it is, and with everything that can be trained moved at random."""
    program = open_up(program)
    net = ProgramNet(program)
    assert_equal(net, program, messages)
    again = net.program()
    for p, q in zip(program.populations, again.populations, strict=True):
        assert all(np.array_equal(getattr(q.neuron, name), value) for name, value in vars(p.neuron).items()), p.name
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _, latent in net.latents():
            latent.free += torch.from_numpy(np.asarray(rng.normal(size=tuple(latent.free.shape)) * 0.1))
    net.project()
    moved = net.program()
    wellformed.check(moved)
    assert_equal(net, moved, messages)
    return net


@settings(SETTINGS, max_examples=60)
@given(cases(graded=True))
def test_random_programs(case: Case) -> None:
    program, messages = case
    program = open_up(program)
    assert_equal(ProgramNet(program), program, messages)


SIZES = [
    Size(),
    Size(neurons=6, memory=5, hidden=3, width=6, heads=3, tokens=2, pairs=9, ticks=7, bits=12, wide=16),
    Size(neurons=5, memory=1, hidden=1, width=2, heads=1, tokens=1, pairs=3, ticks=3, bits=16, wide=16),
]


@pytest.mark.parametrize("size", SIZES)
def test_a_machine_with_random_weights(size: Size) -> None:
    program = synthetic(size, seed=3)
    check(program, samples(program, 4))


MACHINES = {
    "attention": Choices(),
    "u-net": Choices(depth=3, hidden=0, select="first-last"),
    "sorting": Choices(heads=0, normed=True),
    "images": Choices(backbone="resnet18-1", position="custom-rotational", image=(6, 6), select="random"),
    "parity": Choices(backbone="parity_backbone", position="custom-rotational-1d"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_compiled_machine(name: str) -> None:
    found = machine(MACHINES[name], seed=1)
    program = found.compiled().program
    check(program, encode(program, found.x.astype(np.float32)))


def test_sigma_delta_coding() -> None:
    network = thinker(seed=2)
    data = graded_compile.samples(network, 20)
    program = graded_compile.quantise(graded_compile.request(network, data, coding="sigma-delta")).program
    assert {"sigma", "delta"} <= {p.neuron.kind for p in program.populations}
    check(program, encode(program, data.x[:4]))


@pytest.mark.parametrize("name", ["parity", pytest.param("digits", marks=pytest.mark.long), "sort"])
def test_fixtures(name: str) -> None:
    folder = fixture(f"ctm/{name}")
    options = CompileOptions(target="loihi2", calibration=folder / "calibration.npz", bits=4)
    program = compile_model(folder / "checkpoint.pt", options).program
    messages = encode(program, load(folder / "eval.npz").x[:4])
    check(program, messages)
    net = ProgramNet(program)
    (logits,) = net(messages).values()
    logits.double().square().sum().backward()
    for where, latent in net.latents():
        assert latent.free.grad is not None, where
        assert torch.isfinite(latent.free.grad).all(), where
        assert (latent.free.grad != 0).any(), where


def test_fine_tuning_brings_a_machine_nearer_to_the_one_it_imitates() -> None:
    network = thinker(seed=4)
    data = graded_compile.samples(network, 16)
    wide = graded_compile.quantise(graded_compile.request(network, data)).program
    asked = graded_compile.request(network, data, bits=3)
    program = graded_compile.quantise(asked).program
    messages = encode(program, data.x)
    (wanted,) = sim.run(wide, messages, counts=False).outputs.values()
    reference = wanted * np.asarray(wide.outputs[0].scale)
    tuned = finetune(program, data, reference, Tuning(3, batch=4), real_mantissas(asked.lowered, program))
    wellformed.check(tuned)

    answers = predict(reference, "most-certain", program.outputs[0].answer, 1.0)

    def nearness(found: Program) -> tuple[float, float]:
        """Share of the same answers, and the loss, negative."""
        result = sim.run(found, messages, counts=False)
        (output,) = result.outputs.values()
        aim = objective(program, data, reference, output, "most-certain")
        loss = aim.loss(torch.from_numpy(output), torch.arange(len(data)))
        return float((result.predictions == answers).mean()), -float(loss)

    assert nearness(tuned) > nearness(program)
    changed = [
        p.name
        for p, q in zip(program.projections, tuned.projections, strict=True)
        if not np.array_equal(p.synapses.weight, q.synapses.weight)
    ]
    # few bits may all stay where second-order rounding put them: biases and gains move then
    assert not any(p.unit for p in program.projections if p.name in changed)


@pytest.mark.parametrize(("groups", "kernel"), [(1, (1, 1)), (3, (4, 1)), (6, (2, 3))])
def test_a_kernel_that_covers_its_input_is_a_matrix_for_every_group(groups: int, kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (12, 6 // groups, *kernel)).astype(np.int16)
    conv = Conv(weight, (6, *kernel), (1, 1), (0, 0), (1, 1), groups)
    assert BlockOperation.suits(conv)
    for other in ({"in_shape": (6, 7, 7)}, {"padding": (1, 0)}):
        assert not BlockOperation.suits(replace(conv, **other))
    x = torch.from_numpy(rng.integers(-99, 99, (5, conv.n_in))).double()
    found, expected = [], []
    for operation, kept in ((BlockOperation(conv), found), (ConvOperation(conv), expected)):
        w = torch.from_numpy(weight).double().requires_grad_()
        sums = operation(x, w)
        sums.square().sum().backward()
        kept += [sums.detach(), w.grad, operation.fan_in]
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[2] == expected[2]
