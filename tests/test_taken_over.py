"""Spiking layers whose weights come quantised: the program holds exactly their mantissas and steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import networks
import numpy as np
import pytest
import torch
from given_weights import layer, quantise, real_weights, same, two_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import HALF, chain, lif

from ndeploy import oracle, sim
from ndeploy.errors import RefusedError, UsageError
from ndeploy.graph import reference
from ndeploy.ir import network as net


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from(["lava", "loihi2"]))
def test_the_program_holds_the_weights_as_they_are(seed: int, per_row: bool, chip: str) -> None:
    rng = np.random.default_rng(seed)
    network = two_layers(rng, per_row, 0.3)
    made = quantise(network, 4, chip=chip)
    for name, bits in (("w0", 4), ("w1", 3), ("w2", 8)):
        node = network.nodes[name]
        assert isinstance(node, net.Linear)
        np.testing.assert_allclose(real_weights(made.program, name), node.weight, rtol=2.0**-22, atol=0)
        assert next(p for p in made.program.projections if p.name == name).weight_bits <= bits
    assert made.explanation is not None
    assert made.explanation.method == "taken-over"
    reasons = {reason.name: reason for reason in made.explanation.layers}
    assert {name: r.parameters for name, r in reasons.items()} == {"w0": 42, "w1": 30, "w2": 15}
    assert reasons["w2"].scale == "per population"
    assert reasons["w0"].scale == ("per neuron" if per_row else "per population")
    assert all("as they came" in r.why and r.bytes > 0 for r in reasons.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_spikes_are_those_of_the_float_network(seed: int, per_row: bool) -> None:
    """Membranes that halve, no bias: nothing is rounded, so not one spike may differ."""
    rng = np.random.default_rng(seed)
    network = two_layers(rng, per_row, 0.0)
    made = quantise(network, 5)
    x = rng.integers(0, 2, (16, 5, 7))
    got = oracle.run(made.program, {"in": x}, strict=True)
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
    for name in ("n0", "n1"):
        np.testing.assert_array_equal(got.traces[f"spikes/{name}"], expected.values[name])
    np.testing.assert_array_equal(got.predictions, expected.predictions("sum"))


def test_ties_at_the_threshold_spike_as_the_network_says() -> None:
    rng = np.random.default_rng(3)
    for compare in net.COMPARES:
        network = chain(
            ("in", net.Input((6,))),
            ("w", net.Linear(rng.integers(-2, 3, (8, 6)) * 0.25)),  # sums of halves meet 1/2 exactly, and often
            ("n", lif((8,), 0.5)),
            ("out", net.Output((8,))),
            semantics=net.Semantics(dt=1.0, reset="zero", compare=compare),
        )
        made = quantise(network, 4)
        x = rng.integers(0, 2, (64, 4, 6))
        expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
        got = oracle.run(made.program, {"in": x}, strict=True).traces["spikes/n"]
        np.testing.assert_array_equal(got, expected.values["n"])


def test_leaks_and_biases_are_rounded_finely() -> None:
    rng = np.random.default_rng(11)
    differ = count = fired = 0
    for _ in range(8):
        network = two_layers(rng, True, 0.4, tau=2.7)
        x = rng.integers(0, 2, (64, 6, 7))
        made = quantise(network, 6)
        got = sim.run(made.program, {"in": x}, trace=True)
        expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
        a, b = got.traces["spikes/n0"], expected.values["n0"]
        differ, count, fired = differ + int((a != b).sum()), count + a.size, fired + int(b.sum())
    assert fired > 0.1 * count
    assert differ <= 2e-3 * count


def test_convolutions_have_a_step_a_channel() -> None:
    rng = np.random.default_rng(5)
    kernel = rng.integers(-7, 8, (4, 2, 3, 3)) * 0.07 * rng.uniform(0.5, 2, (4, 1, 1, 1))
    kernel[2] = 0.0  # a channel that batch norm has switched off
    network = chain(
        ("in", net.Input((2, 6, 6))),
        ("w", net.Conv(kernel, np.zeros(4), (1, 1), (1, 1), (1, 1))),
        ("n", lif((4, 6, 6), 0.4)),
        ("out", net.Output((4, 6, 6))),
    )
    made = quantise(network, 3, chip="loihi2")
    np.testing.assert_allclose(real_weights(made.program, "w"), kernel, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 2, (8, 3, 2, 6, 6))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert expected.sum() > 50
    assert not expected[:, :, 2].any()
    assert made.explanation is not None
    assert made.explanation.layers[0].scale == "per channel"


def test_few_weights_are_a_list_and_keep_their_steps() -> None:
    rng = np.random.default_rng(6)
    weight = np.where(rng.random((9, 20)) < 0.15, rng.integers(-3, 4, (9, 20)), 0) * 0.21 * rng.uniform(1, 2, (9, 1))
    network = chain(
        ("in", net.Input((20,))), ("w", net.Linear(weight)), ("n", lif((9,), 0.3)), ("out", net.Output((9,)))
    )
    made = quantise(network, 4)
    x = rng.integers(0, 2, (8, 4, 20))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert expected.any()
    assert made.program.projections[0].weight_bits <= 3


def _branches(second: float) -> net.Network:
    """Two layers that end on the same neurons, the steps of the second `second` times those of the first."""
    rng = np.random.default_rng(8)
    first, other = rng.integers(-7, 8, (5, 6)), rng.integers(-7, 8, (5, 6))
    first[:, 0] = other[:, 0] = 7
    nodes: dict[str, net.Node] = {
        "in": net.Input((6,)),
        "a": net.Linear(first * 0.125),
        "b": net.Linear(other * 0.125 * second),
        "n": lif((5,)),
        "out": net.Output((5,)),
    }
    edges = (("in", "a"), ("in", "b"), ("a", "n"), ("b", "n"), ("n", "out"))
    return net.Network("two", nodes, edges, HALF)


@pytest.mark.parametrize(("second", "exponent"), [(1.0, 0), (4.0, 2), (0.125, 3)])
def test_steps_a_power_of_two_apart_share_neurons(second: float, exponent: int) -> None:
    network = _branches(second)
    made = quantise(network, 4)
    projections = {p.name: p for p in made.program.projections}
    assert abs(projections["a"].exponent - projections["b"].exponent) == exponent
    assert max(p.weight_bits for p in projections.values()) == 4
    x = np.random.default_rng(1).integers(0, 2, (32, 4, 6))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)


def test_steps_that_do_not_combine_are_refused() -> None:
    with pytest.raises(RefusedError, match="no multiples of one another") as error:
        quantise(_branches(1.37), 4)
    assert error.value.code == "ND311"
    assert "'a', 'b'" in error.value.message


def _float_first(rng: np.random.Generator) -> net.Network:
    network = two_layers(rng, True, 0.1)
    nodes = dict(network.nodes)
    nodes["w0"] = net.Linear(rng.normal(size=(6, 7)), np.zeros(6))
    return replace(network, nodes=nodes)


def test_a_float_layer_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="layer 'w0'") as error:
        quantise(_float_first(np.random.default_rng(0)), 4)
    assert error.value.code == "ND310"
    assert "at most 8 bits" in error.value.message
    assert "steps from a whole number" in error.value.message
    assert "others=uniform" in error.value.help
    assert "--method uniform" in error.value.help


def test_others_are_quantised_where_asked() -> None:
    rng = np.random.default_rng(0)
    network = _float_first(rng)
    made = quantise(network, 4, bits=5, others="uniform")
    projections = {p.name: p for p in made.program.projections}
    assert projections["w0"].weight_bits == 5
    assert projections["w1"].weight_bits <= 3
    node = network.nodes["w1"]
    assert isinstance(node, net.Linear)
    np.testing.assert_allclose(real_weights(made.program, "w1"), node.weight, rtol=2.0**-22, atol=0)
    assert made.explanation is not None
    first, second, _ = made.explanation.layers
    assert first.why.startswith("quantised at 5 bits: layer 'w0'")
    assert "as they came" in second.why
    with pytest.raises(UsageError) as error:
        quantise(network, 4, others="float")
    assert error.value.code == "ND205"


def test_a_network_of_others_is_what_uniform_makes_of_it() -> None:
    rng = np.random.default_rng(9)
    network = chain(
        ("in", net.Input((2, 5, 5))),
        ("w0", net.Conv(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), (1, 1), (1, 1), (1, 1))),
        ("n0", lif((3, 5, 5), tau=3.0)),
        ("flat", net.Flatten((3, 5, 5))),
        ("w1", net.Linear(rng.normal(size=(4, 75)))),
        ("out", net.Output((4,))),
    )
    x = rng.integers(0, 2, (8, 3, 2, 5, 5)).astype(np.float64)
    same(
        quantise(network, 3, x=x, bits=4, others="uniform").program,
        networks.quantise(network, 3, bits=4, x=x)[1].program,
    )


def test_thresholds_on_a_coarse_raster() -> None:
    """loihi1 stores multiples of 64 state units: the input's unit is made finer, so that they are fine enough."""
    rng = np.random.default_rng(12)
    network = two_layers(rng, False, 0.0)
    made = quantise(network, 4, chip="loihi1")
    assert all(int(np.asarray(made.program.population(n).neuron.vth).max()) >= 1 << 14 for n in ("n0", "n1"))
    node = network.nodes["w0"]
    assert isinstance(node, net.Linear)
    np.testing.assert_allclose(real_weights(made.program, "w0"), node.weight, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 2, (256, 4, 7))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n0"]
    differ = oracle.run(made.program, {"in": x}).traces["spikes/n0"] != expected
    assert differ.mean() < 2e-3


def test_rows_of_a_readout_need_one_step() -> None:
    rng = np.random.default_rng(2)
    network = chain(("in", net.Input((7,))), ("w", net.Linear(layer(rng, 4, 7, 4, True))), ("out", net.Output((4,))))
    with pytest.raises(RefusedError, match="a readout compares them") as error:
        quantise(network, 4)
    assert error.value.code == "ND311"


def test_weights_too_strong_for_the_state_are_refused() -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(100, 127, (3, 3000)) * 0.01
    network = chain(
        ("in", net.Input((3000,))), ("w", net.Linear(weight)), ("n", lif((3,), 1.0, tau=50.0)), ("o", net.Output((3,)))
    )
    x = np.ones((2, 60, 3000))
    with pytest.raises(RefusedError, match="as they came") as error:
        quantise(network, 60, chip="loihi1", x=x)
    assert error.value.code == "ND302"


def test_the_most_negative_weight_turned_around_is_refused_at_eight_bits() -> None:
    whole = np.array([[-128.0, 3.0, 1.0], [5.0, 127.0, -2.0]]) * [[-0.1], [0.1]]
    network = chain(("in", net.Input((3,))), ("w", net.Linear(whole)), ("n", lif((2,))), ("out", net.Output((2,))))
    with pytest.raises(RefusedError, match="mantissa is 128") as error:
        quantise(network, 4)
    assert error.value.code == "ND310"


def test_sums_of_pixels_are_shifted_and_their_weights_kept() -> None:
    rng = np.random.default_rng(13)
    weight = layer(rng, 6, 90, 8, True) * 0.01
    network = chain(
        ("in", net.Input((90,))), ("w", net.Linear(weight)), ("n", lif((6,), 0.4)), ("out", net.Output((6,)))
    )
    made = quantise(network, 4, inputs={"input_bits": 8, "input_scale": 1 / 255, "input_signed": 0})
    projection = made.program.projections[0]
    assert projection.exponent < 0
    np.testing.assert_allclose(real_weights(made.program, "w") * 255, weight, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 256, (64, 90))
    messages = {"in": np.repeat(x[:, None], 4, axis=1)}
    expected = reference.run(network, x / 255, 4, dtype=torch.float64, trace=True).values["n"]
    got = oracle.run(made.program, messages, strict=True).traces["spikes/n"]
    assert 0.05 < expected.mean() < 0.95
    assert (got != expected).mean() < 5e-3


def test_a_channel_that_hardly_counts_is_rounded_and_reported() -> None:
    rng = np.random.default_rng(4)
    weight = rng.integers(-7, 8, (3, 5)) * 0.1
    weight[:, 0] = 0.7
    weight[1] *= 1e-7  # beside its threshold, nothing that a state of 24 bits can hold
    network = chain(
        ("in", net.Input((5,))),
        ("w", net.Linear(weight * [[1.0], [1.0], [1.3]])),
        ("n", lif((3,))),
        ("o", net.Output((3,))),
    )
    made = quantise(network, 4)
    x = rng.integers(0, 2, (32, 4, 5))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert made.explanation is not None
    assert "1 of them rounded" in made.explanation.layers[0].why
