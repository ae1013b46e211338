"""The float reference: its steps worked out by hand, its loops, and the source frameworks it must equal."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np
import pytest
import torch
from fixtures_path import fixture
from hypothesis import HealthCheck, given, settings
from random_networks import networks

from ndeploy.errors import NdeployError
from ndeploy.graph.read import read_nir
from ndeploy.graph.reference import run
from ndeploy.ir import network as ir
from ndeploy.settings import Settings

DT = 1e-4


def neuron(reset: str, compare: str = "gt", v_reset: float = 0.0, refractory: int = 0, **more: object) -> ir.Network:
    """input -> LIF (v <- v / 2 + x, threshold 1.5) -> output."""
    values = (np.array([v]) for v in (2 * DT, 2.0, 0.0, 1.5, v_reset))
    nodes = {"in": ir.Input((1,)), "lif": ir.LIF(*values, refractory * DT), "out": ir.Output((1,))}
    semantics = ir.Semantics(DT, "euler", reset, compare, **more)  # type: ignore[arg-type]
    return ir.Network("n", nodes, (("in", "lif"), ("lif", "out")), semantics)


def trace(network: ir.Network, x: list[float]) -> tuple[list[int], list[float]]:
    result = run(network, np.array(x, dtype=np.float64)[None, :, None], trace=True, dtype=torch.float64)
    return result.outputs["out"][0, :, 0].astype(int).tolist(), result.membranes["lif"][0, :, 0].tolist()


@pytest.mark.parametrize(
    ("network", "spikes", "membrane"),
    [
        # v/2 + 1 from 0: 1, 1.5, 1.75 > 1.5 ..
        (neuron("none"), [0, 0, 1, 1, 1], [1, 1.5, 1.75, 1.875, 1.9375]),
        (neuron("none", "ge"), [0, 1, 1, 1, 1], [1, 1.5, 1.75, 1.875, 1.9375]),
        (neuron("zero"), [0, 0, 1, 0, 0], [1, 1.5, 0, 1, 1.5]),
        (neuron("zero", "ge"), [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]),
        (neuron("zero", v_reset=-1.0), [0, 0, 1, 0, 0], [1, 1.5, -1, 0.5, 1.25]),
        (neuron("subtract"), [0, 0, 1, 0, 1], [1, 1.5, 0.25, 1.125, 0.0625]),
        (neuron("delayed-zero"), [0, 0, 1, 0, 0], [1, 1.5, 1.75, 0, 1]),
        (neuron("delayed-subtract"), [0, 0, 1, 0, 0], [1, 1.5, 1.75, 0.375, 1.1875]),
        (neuron("zero", "ge", refractory=2), [0, 1, 0, 0, 0], [1, 0, 0, 0, 1]),
    ],
)
def test_resets_and_comparisons_by_hand(network, spikes, membrane):
    found_spikes, found_membrane = trace(network, [1.0] * 5)
    assert found_membrane == pytest.approx(membrane)
    assert found_spikes == spikes


@pytest.mark.parametrize(("synapse_first", "expected"), [(True, [1, 2, 1.75, 1.25]), (False, [0, 1, 2, 1.75])])
def test_the_order_of_current_and_membrane(synapse_first, expected):
    parts = [np.array([v]) for v in (2 * DT, 2 * DT, 2.0, 0.0, 2.0)]
    nodes = {"in": ir.Input((1,)), "lif": ir.CubaLI(*parts), "out": ir.Output((1,))}
    network = ir.Network("n", nodes, (("in", "lif"), ("lif", "out")), ir.Semantics(DT, synapse_first=synapse_first))
    # i <- i / 2 + x, v <- v / 2 + i
    found = run(network, np.array([[[1.0], [1.0], [0.0], [0.0]]]), dtype=torch.float64).outputs["out"][0, :, 0]
    assert found == pytest.approx(expected)


def loop(recurrent_delay: int, bias: float = 0.0) -> ir.Network:
    """A sum that feeds itself through a weight of 10."""
    nodes = {
        "in": ir.Input((1,)),
        "sum": ir.Integrator(np.array([1.0])),
        "w": ir.Linear(np.array([[10.0]]), np.array([bias])),
        "out": ir.Output((1,)),
    }
    edges = (("in", "sum"), ("sum", "w"), ("w", "sum"), ("sum", "out"))
    return ir.Network("n", nodes, edges, ir.Semantics(recurrent_delay=recurrent_delay, if_gain="unit"))


def test_a_loop_takes_its_recurrent_delay():
    x = np.array([[[1.0], [0.0], [0.0], [0.0]]])
    assert run(loop(1), x).outputs["out"].ravel().tolist() == [1, 11, 121, 1331]
    assert run(loop(2), x).outputs["out"].ravel().tolist() == [1, 1, 11, 21]


def test_the_bias_in_a_loop_is_there_from_the_first_step():
    """As in snnTorch's RSynaptic, which applies its recurrent layer to the cleared spikes."""
    assert run(loop(1, 0.5), np.zeros((1, 2, 1))).outputs["out"].ravel().tolist() == [0.5, 6.0]


def test_a_delay_node_in_the_loop_is_the_loops_delay():
    nodes = {
        "in": ir.Input((2,)),
        "sum": ir.Integrator(np.ones(2)),
        "d": ir.Delay(np.array([1 * DT, 2 * DT])),
        "out": ir.Output((2,)),
    }
    edges = (("in", "sum"), ("sum", "d"), ("d", "sum"), ("sum", "out"))
    network = ir.Network("n", nodes, edges, ir.Semantics(DT, recurrent_delay=3, if_gain="unit"))
    x = np.zeros((1, 5, 2))
    x[0, 0] = 1
    found = run(network, x).outputs["out"][0]
    # one step: 1, 1+1, 2+2 ..; two steps: 1, 1, 1+1, 2+1, 3+2
    assert found[:, 0].tolist() == [1, 2, 4, 8, 16]
    assert found[:, 1].tolist() == [1, 1, 2, 3, 5]


def test_a_loop_of_linear_nodes_is_refused():
    nodes = {
        "in": ir.Input((1,)),
        "a": ir.Scale(np.array([2.0])),
        "b": ir.Scale(np.array([2.0])),
        "out": ir.Output((1,)),
    }
    edges = (("in", "a"), ("a", "b"), ("b", "a"), ("b", "out"))
    with pytest.raises(NdeployError) as error:
        run(ir.Network("n", nodes, edges), np.ones((1, 1)), steps=2)
    assert error.value.code == "ND206"
    assert "'a'" in error.value.message


def test_delays_per_synapse():
    weight = np.array([[1.0, 10.0]])
    nodes = {
        "in": ir.Input((2,)),
        "w": ir.Linear(weight, np.array([0.5]), ir.IntegerWeights(8, 0, "mixed", np.array([[0, 2]]))),
        "out": ir.Output((1,)),
    }
    network = ir.Network("n", nodes, (("in", "w"), ("w", "out")))
    x = np.zeros((1, 4, 2))
    x[0, 0] = 1
    assert run(network, x).outputs["out"].ravel().tolist() == [1.5, 0.5, 10.5, 0.5]


def test_a_negative_exponent_rounds_down_as_the_chip_does():
    nodes = {
        "in": ir.Input((1,)),
        "w": ir.Linear(np.array([[3.0]]), None, ir.IntegerWeights(8, -1)),
        "out": ir.Output((1,)),
    }
    network = ir.Network("n", nodes, (("in", "w"), ("w", "out")))
    assert run(network, np.array([[1.0], [-1.0]]), steps=1).outputs["out"].ravel().tolist() == [1, -2]


def test_product_join_and_maximum_pool():
    nodes = {
        "a": ir.Input((1, 2, 4)),
        "b": ir.Input((2, 4)),
        "p": ir.Product("a", "b", (2, 4), (2, 4), "nc,nd->cd", (1, 4, 4), 0.5),
        "max": ir.Pool("max", (2, 2), (2, 2)),
        "w": ir.Scale(np.full((1, 2, 2), 3.0)),
        "join": ir.Scale(np.ones((1, 2, 2))),
        "out": ir.Output((1, 2, 2)),
    }
    edges = (("a", "p"), ("b", "p"), ("p", "max"), ("max", "w"), ("w", "join"), ("max", "join"), ("join", "out"))
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (3, 1, 2, 4)), rng.integers(0, 2, (3, 2, 4))
    product = np.einsum("znc,znd->zcd", a.reshape(3, 2, 4), b) * 0.5
    expected = 4 * product.reshape(3, 1, 2, 2, 2, 2).max(axis=(3, 5))
    found = run(ir.Network("n", nodes, edges), {"a": a, "b": b}, steps=1).outputs["out"][:, 0]
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks())
def test_batches_and_traces_change_nothing_on_any_network(network):
    """Every node class runs, or says in a coded error why it cannot."""
    inputs = {name: node.shape for name, node in network.nodes.items() if isinstance(node, ir.Input)}
    rng = np.random.default_rng(0)
    x = {name: rng.integers(0, 3, (5, 4, *shape)) for name, shape in inputs.items()}
    try:
        whole = run(network, x, trace=True, dtype=torch.float64)
    except NdeployError as error:
        assert error.code in ("ND206", "ND207")  # noqa: PT017
        return
    parts = run(network, x, batch=2, dtype=torch.float64)
    for name, value in whole.outputs.items():
        assert value.shape[:2] == (5, 4)
        np.testing.assert_allclose(parts.outputs[name], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "steps", "code"),
    [
        (np.ones((2, 1)), None, "ND204"),
        (np.ones((2, 3)), 2, "ND502"),
        (np.ones((2, 3, 1)), 4, "ND502"),
        (np.ones((0, 1)), 2, "ND503"),
        ({"other": np.ones((2, 1))}, 2, "ND502"),
    ],
)
def test_data_that_does_not_fit(x, steps, code):
    with pytest.raises(NdeployError) as error:
        run(neuron("zero"), x, steps)
    assert error.value.code == code


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_norse_runs_its_imported_graph_to_the_same_spikes(tmp_path, reset):
    """Preset norse against Norse 1.1 itself; its import hands the reset to CUBA neurons only, not to LIF."""
    norse = pytest.importorskip("norse.torch")
    norse_reset = pytest.importorskip("norse.torch.functional.reset")
    rng = np.random.default_rng(5)
    n = 12
    cuba = {key: rng.uniform(2e-3, 9e-3, n) for key in ("tau_syn", "tau_mem")}
    cuba |= {"r": rng.uniform(2, 6, n), "w_in": rng.uniform(2, 6, n), "v_threshold": rng.uniform(0.2, 0.6, n)}
    lif = {"tau": rng.uniform(2e-3, 9e-3, 5), "r": np.ones(5), "v_threshold": rng.uniform(0.05, 0.2, 5)}
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([8])),
            "fc1": nir.Affine(rng.normal(0, 1, (n, 8)).astype(np.float32), rng.normal(0, 0.1, n).astype(np.float32)),
            "cuba": nir.CubaLIF(**cuba, v_leak=np.zeros(n)),
            "fc2": nir.Affine(rng.normal(0, 1, (5, n)).astype(np.float32), np.zeros(5, dtype=np.float32)),
            "lif": nir.LIF(**lif, v_leak=np.zeros(5)),
            "output": nir.Output(np.array([5])),
        },
        [("input", "fc1"), ("fc1", "cuba"), ("cuba", "fc2"), ("fc2", "lif"), ("lif", "output")],
    )
    nir.write(tmp_path / "graph.nir", graph)
    method = norse_reset.reset_value if reset == "zero" else norse_reset.reset_subtract
    module = norse.from_nir(graph, reset_method=method, dt=1e-3)
    x = rng.integers(0, 2, (6, 40, 8)).astype(np.float32)
    state, expected = None, []
    with torch.no_grad():
        for k in range(x.shape[1]):
            y, state = module(torch.from_numpy(x[:, k]), state)
            expected.append(y.numpy())
    network = read_nir(tmp_path / "graph.nir", Settings.parse(["source=norse", f"reset={reset}"]))
    own = replace(network.nodes["lif"], semantics=replace(network.semantics, reset="zero"))
    network = replace(network, nodes={**network.nodes, "lif": own})
    found = run(network, x).outputs["output"]
    assert 0.1 < found.mean() < 0.9
    assert int((found != np.stack(expected, axis=1)).sum()) == 0


def mnist() -> tuple[ir.Network, np.lib.npyio.NpzFile]:
    network = read_nir(fixture("nir/mnist-conv/model.nir"), Settings.parse(["source=snntorch", "steps=6"]))
    return network, np.load(fixture("nir/mnist-conv/eval.npz"))


def test_mnist_conv_equals_snntorchs_spikes():
    network, data = mnist()
    result = run(network, data["x"], x_scale=float(data["x_scale"]))
    spikes = result.outputs["output"]
    assert int((spikes.sum(axis=1) != data["spike_counts"]).sum()) == 0
    assert int((spikes[:64].transpose(1, 0, 2) != data["ref_spikes64"]).sum()) == 0
    assert float((result.predictions() == data["y"]).mean()) == pytest.approx(0.922, abs=1e-9)


@pytest.mark.parametrize("name", ["nir/braille/model.nir", "nir/awkward/braille-subgraph.nir"])
def test_braille_reaches_its_float_accuracy(name):
    network = read_nir(fixture(name), Settings.parse(["source=snntorch"]))
    data = np.load(fixture("nir/braille/eval.npz"))
    accuracy = float((run(network, data["x"], batch=1000).predictions() == data["y"]).mean())
    assert accuracy == pytest.approx(0.963, abs=1e-9)


def test_semantics_change_what_braille_answers():
    """Each of these is left open by NIR: none may be guessed."""
    data = np.load(fixture("nir/braille/eval.npz"))
    base = run(read_nir(fixture("nir/braille/model.nir"), Settings.parse(["source=snntorch"])), data["x"][:50])
    for change in ("reset=subtract", "recurrent_delay=2", "integrator=exponential", "synapse_first=false"):
        other = run(
            read_nir(fixture("nir/braille/model.nir"), Settings.parse(["source=snntorch", change])), data["x"][:50]
        )
        assert (base.outputs["output"] != other.outputs["output"]).any(), change


@pytest.mark.parametrize("integrator", ["euler", "exponential"])
def test_one_lif_neuron_spikes_when_the_exact_solution_does(integrator):
    network = read_nir(
        fixture("nir/lif/lif_norse.nir"), Settings.parse(["source=norse", "dt=1e-4", f"integrator={integrator}"])
    )
    exact = np.loadtxt(fixture("nir/lif/lif_exact.csv"), delimiter=",")
    result = run(network, exact[None, :, :1], trace=True)
    spikes = np.flatnonzero(result.outputs["output"][0, :, 0])
    np.testing.assert_array_equal(spikes, np.flatnonzero(exact[:, 2]))
    assert spikes.size == 4
    # a step's size in the membrane is 0.04 of the threshold; first order stays within a sixth of it
    assert np.abs(result.membranes["1"][0, :, 0] - exact[:, 1]).max() < 0.007


def test_two_neurons_the_first_of_which_fires_by_its_leak():
    network = read_nir(fixture("nir/lif/two_lif_neurons.nir"), Settings.parse(["dt=1e-4"]))
    result = run(network, np.zeros((1, 500, 1)), trace=True)
    first = np.flatnonzero(result.values["lif1"][0, :, 0])
    # v_leak 1.2 over threshold 1, tau 10 ms: a spike every 10 ms * ln(1.2 / 0.2) = 17.9 ms
    assert np.all(np.abs(np.diff(first) - 179) <= 1)
    assert first.size == 2
    assert not result.values["lif2"].any()
