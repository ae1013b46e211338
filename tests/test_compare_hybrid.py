"""The execution in float64: the program with nothing mended, the float network with everything mended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compared_networks import compiled, data, float_engine, network
from fixtures_path import fixture
from networks import chain, lif, quantise

from ndeploy import sim
from ndeploy.data import Data, load
from ndeploy.decode import encode
from ndeploy.divergence import exact
from ndeploy.divergence.causes import NAMES, PROGRAM, REFERENCE, mending, only
from ndeploy.divergence.engines import FloatEngine
from ndeploy.divergence.signals import Distance, from_traces, kept
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.pipeline import CompileOptions, compile_model


def assert_both_ends(made: net.Network, program: Program, samples: Data) -> FloatEngine:
    """Nothing mended is the simulator, everything mended the reference execution of the float network."""
    engine = float_engine(made, program)
    traces = sim.run(program, encode(program, samples.x, samples.x_scale), trace=True).traces
    own, mixed = from_traces(program, traces), engine.run(samples, PROGRAM)
    assert mixed is not None
    for name, value in own.messages.items():
        np.testing.assert_array_equal(value, mixed.messages[name], name)
    for name, value in own.membranes.items():
        np.testing.assert_array_equal(value, mixed.membranes[name], name)
    real = engine.run(samples, REFERENCE)
    assert real is not None
    wanted = reference.run(made, samples.x, program.steps, x_scale=samples.x_scale, dtype=torch.float64, trace=True)
    compared = 0
    for name, value in real.messages.items():
        if name in wanted.values:
            np.testing.assert_allclose(value, wanted.values[name].reshape(value.shape), atol=1e-9, err_msg=name)
            compared += 1
    for name, value in real.membranes.items():
        if name in wanted.membranes:
            expected = wanted.membranes[name].reshape(value.shape)
            np.testing.assert_allclose(value, expected, rtol=1e-7, atol=1e-9, err_msg=name)
            compared += 1
    assert compared
    return engine


@pytest.mark.parametrize("reset", ["zero", "subtract", "delayed-zero", "delayed-subtract"])
@pytest.mark.parametrize("compare", ["gt", "ge"])
def test_recurrent_network_with_currents(reset: str, compare: str) -> None:
    made = network(reset=reset, compare=compare)
    assert_both_ends(made, compiled(made), data(4))


@pytest.mark.parametrize("settings", [{"synapse_first": False}, {"integrator": "exponential"}, {"recurrent_delay": 2}])
def test_other_semantics(settings: dict[str, object]) -> None:
    made = network(**settings)
    if "synapse_first" in settings:  # a bias on such a current is refused
        nodes = {k: net.Linear(n.weight) if isinstance(n, net.Linear) else n for k, n in made.nodes.items()}
        made = net.Network(made.name, nodes, made.edges, made.semantics, steps=made.steps)
    assert_both_ends(made, compiled(made), data(4))


def test_convolutions_pools_and_inputs_of_real_numbers() -> None:
    rng = np.random.default_rng(0)
    made = chain(
        ("input", net.Input((2, 8, 8))),
        ("conv", net.Conv(rng.normal(0, 0.4, (4, 2, 3, 3)), rng.normal(0, 0.1, 4), (1, 1), (1, 1), (1, 1))),
        ("a", lif((4, 8, 8))),
        ("pool", net.Pool("sum", (2, 2), (2, 2))),
        ("conv2", net.Conv(rng.normal(0, 0.4, (4, 4, 4, 4)), None, (1, 1), (0, 0), (1, 1))),
        ("b", lif((4, 1, 1))),
        ("output", net.Output((4, 1, 1))),
    )
    samples = Data(rng.random((3, 2, 8, 8)))
    settings = {"input_scale": 1 / 255, "input_bits": 8}
    program = quantise(made, 8, x=samples.x, settings=settings)[1].program
    engine = assert_both_ends(made, program, samples)
    assert "activation" in engine.differing(samples)
    assert "activation" not in engine.beyond_rounding(samples)
    loud = Data(samples.x * 1.5)
    assert engine.beyond_rounding(loud)["activation"] == {"input"}


def test_a_readout_that_sums_what_arrives() -> None:
    rng = np.random.default_rng(5)
    made = chain(
        ("input", net.Input((10,))),
        ("fc", net.Linear(rng.normal(0, 0.6, (6, 10)))),
        ("a", lif((6,))),
        ("fc2", net.Linear(rng.normal(0, 0.6, (3, 6)), rng.normal(0, 0.1, 3))),
        ("output", net.Output((3,))),
    )
    program = quantise(made, 24, x=data().x)[1].program
    engine = assert_both_ends(made, program, data(4))
    found = engine.run(data(4), REFERENCE)
    wanted = reference.run(made, data(4).x, 24, dtype=torch.float64)
    assert found is not None
    np.testing.assert_allclose(found.output, np.cumsum(wanted.outputs["output"], axis=1), atol=1e-9)


def test_a_network_that_thinks_in_ticks() -> None:
    folder = fixture("ctm/parity")
    made = compile_model(folder / "checkpoint.pt", CompileOptions(calibration=folder / "calibration.npz"))
    samples = load(folder / "eval.npz", 2)
    program = made.program
    numbers, why = exact.beside(made.network, program, {"target": "loihi2"})
    assert numbers is not None, why
    engine = FloatEngine(program, numbers)
    own = from_traces(program, sim.run(program, encode(program, samples.x, samples.x_scale), trace=True).traces)
    mixed, real = engine.run(samples, PROGRAM), engine.run(samples, REFERENCE)
    assert mixed is not None
    assert real is not None
    wanted = reference.run(made.network, samples.x, program.steps, dtype=torch.float64, trace=True)
    for name, value in own.messages.items():
        np.testing.assert_array_equal(value, mixed.messages[name], name)
        if name in wanted.values:
            expected = wanted.values[name].reshape(value.shape)
            np.testing.assert_allclose(real.messages[name], expected, atol=1e-9, err_msg=name)
    assert {"weights", "activation"} <= set(engine.differing(samples))
    assert engine.beyond_rounding(samples) == {}


def test_what_does_not_differ_changes_nothing() -> None:
    made = network()
    program, samples = compiled(made), data(6)
    engine = float_engine(made, program)
    differing = engine.differing(samples)
    assert {"weights", "bias", "decay"} <= set(differing)
    assert not {"reset", "compare", "delay", "saturation", "activation"} & set(differing)
    assert engine.beyond_rounding(samples) == {}
    program_side, real = engine.run(samples, PROGRAM), engine.run(samples, REFERENCE)
    assert program_side is not None
    assert real is not None
    for name in set(NAMES) - set(differing):
        for mix, wanted in ((mending(name), program_side), (only(name), real)):
            found = engine.run(samples, mix)
            assert found is not None
            for layer, value in wanted.messages.items():
                np.testing.assert_array_equal(found.messages[layer], value, name)


def test_saturation_is_seen_and_mended() -> None:
    made = network()
    small = compiled(made)
    out = small.population("out").neuron
    from compared_networks import with_neuron

    # a bias of a few million units a step fills 24 bits within the sample
    program = with_neuron(small, "out", vth=(1 << 23) - 1, bias=3_000_000, dv=0)
    assert out.vth is not program.population("out").neuron.vth
    engine = float_engine(made, program)
    assert engine.differing(data(3))["saturation"] == {"out"}
    wide, narrow = engine.run(data(3), mending("saturation")), engine.run(data(3), PROGRAM)
    assert wide is not None
    assert narrow is not None
    assert wide.membranes["out"].max() > narrow.membranes["out"].max()


def test_distance_of_a_late_spike_is_less_than_of_a_missing_one() -> None:
    made = network()
    program = compiled(made)
    engine = float_engine(made, program)
    signals = engine.run(data(1), REFERENCE)
    assert signals is not None
    only_one = np.zeros((1, 24, 4))
    only_one[0, 3, 1] = 1

    def distance(other: np.ndarray) -> float:
        def side(value: np.ndarray) -> object:
            from ndeploy.divergence.signals import Signals

            return Signals({"out": value}, {}, value)

        found = Distance.empty()
        found.add(program, side(other), side(only_one), kept(program, side(only_one)), None)  # type: ignore[arg-type]
        return found.mean

    late, missing = np.roll(only_one, 1, axis=1), np.zeros_like(only_one)
    assert distance(only_one) == 0.0
    assert distance(late) == pytest.approx(0.2, abs=1e-3)
    assert distance(missing) == 1.0
