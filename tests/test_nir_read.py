"""The NIR reader on graphs that the nir package builds, and on those that package refuses."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from ndeploy.errors import NdeployError, UsageError
from ndeploy.graph import shapes
from ndeploy.graph.read import read_nir
from ndeploy.graph.reference import run
from ndeploy.ir import network as ir
from ndeploy.settings import Settings

RNG = np.random.default_rng(7)


def save(path: Path, nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], type_check: bool = True) -> Path:
    file = path / "graph.nir"
    # without compression, because the nir package cannot compress parameters of no axes
    nir.write(file, nir.NIRGraph(nodes, edges, type_check=type_check), compression=None)
    return file


def chain(path: Path, shape: tuple[int, ...], *nodes: nir.NIRNode, out: tuple[int, ...]) -> ir.Network:
    """input -> nodes -> output, written without nir's own type check and read by us."""
    named = {"input": nir.Input(np.array(shape)), **{f"n{i}": n for i, n in enumerate(nodes)}}
    named["output"] = nir.Output(np.array(out))
    names = list(named)
    return read_nir(save(path, named, list(itertools.pairwise(names)), type_check=False))


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(1e-3, 1e-2, shape)


NEURONS = {
    "I": {"r": positive(3)},
    "IF": {"r": positive(3), "v_threshold": positive(3), "v_reset": -positive(3)},
    "LI": {"tau": positive(3), "r": positive(3), "v_leak": positive(3)},
    "LIF": {
        "tau": positive(3),
        "r": positive(3),
        "v_leak": positive(3),
        "v_threshold": positive(3),
        "v_reset": -positive(3),
    },
    "CubaLI": {k: positive(3) for k in ("tau_syn", "tau_mem", "r", "v_leak", "w_in")},
    "CubaLIF": {k: positive(3) for k in ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in")},
    "Threshold": {"threshold": positive(3)},
    "Scale": {"scale": positive(3)},
    "Delay": {"delay": np.array([1e-4, 2e-4, 0.0])},
}
CLASSES = {"I": "Integrator"}


@pytest.mark.parametrize("kind", NEURONS)
def test_elementwise_nodes_keep_every_parameter(tmp_path, kind):
    network = chain(tmp_path, (3,), getattr(nir, kind)(**NEURONS[kind]), out=(3,))
    node = network.nodes["n0"]
    assert type(node).__name__ == CLASSES.get(kind, kind)
    for key, value in NEURONS[kind].items():
        np.testing.assert_array_equal(getattr(node, key), value)


def test_linear_and_affine(tmp_path):
    weight, bias = RNG.normal(size=(4, 3)), RNG.normal(size=4)
    network = chain(tmp_path, (3,), nir.Affine(weight, bias), nir.Linear(weight[:2, :].repeat(2, 1)[:, :4]), out=(2,))
    np.testing.assert_array_equal(network.nodes["n0"].weight, weight)
    np.testing.assert_array_equal(network.nodes["n0"].bias, bias)
    assert network.nodes["n1"].bias is None
    assert shapes.infer(network)["n1"] == (2,)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), 1, 0, 1, 1),
        ((5, 2), (2, 1), (2, 0), (1, 2), 1),
        ((3, 3), (2, 3), (1, 1), 1, 2),
        ((1, 4), 1, (0, 3), 1, 4),
    ],
)
def test_convolutions_of_any_kernel_stride_and_groups(tmp_path, kernel, stride, padding, dilation, groups):
    weight, bias = RNG.normal(size=(8, 4 // groups, *kernel)), RNG.normal(size=8)
    node = nir.Conv2d((9, 11), weight, stride, padding, dilation, groups, bias)
    x = RNG.normal(size=(2, 4, 9, 11))
    expected = F.conv2d(
        torch.tensor(x), torch.tensor(weight), torch.tensor(bias), stride, padding, dilation, groups
    ).numpy()
    network = chain(tmp_path, (4, 9, 11), node, out=expected.shape[1:])
    assert shapes.infer(network)["n0"] == expected.shape[1:]
    found = run(network, x, steps=1, dtype=torch.float64).outputs["output"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((4, 3), 1), ((2, 5), (3, 2)), ((4, 2), (2, 1))])
def test_same_padding_is_pytorchs(tmp_path, kernel, dilation):
    weight = RNG.normal(size=(5, 3, *kernel))
    node = nir.Conv2d((8, 7), weight, 1, "same", dilation, 1, np.zeros(5))
    x = RNG.normal(size=(2, 3, 8, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that even kernels cost it a copy
        expected = F.conv2d(torch.tensor(x), torch.tensor(weight), padding="same", dilation=dilation).numpy()
    network = chain(tmp_path, (3, 8, 7), node, out=(5, 8, 7))
    found = run(network, x, steps=1, dtype=torch.float64).outputs["output"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, "valid", 1), (2, 3, 2), (1, "same", 1)])
def test_conv1d(tmp_path, stride, padding, groups):
    weight, bias = RNG.normal(size=(6, 4 // groups, 4)), RNG.normal(size=6)
    node = nir.Conv1d(10, weight, stride, padding, 1, groups, bias)
    x = RNG.normal(size=(2, 4, 10))
    expected = F.conv1d(torch.tensor(x), torch.tensor(weight), torch.tensor(bias), stride, padding, 1, groups).numpy()
    network = chain(tmp_path, (4, 10), node, out=expected.shape[1:])
    found = run(network, x, steps=1, dtype=torch.float64).outputs["output"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["SumPool2d", "AvgPool2d"])
def test_pools(tmp_path, kind):
    node = getattr(nir, kind)(np.array([2, 3]), np.array([2, 2]), np.array([0, 1]))
    x = RNG.normal(size=(2, 3, 8, 9))
    expected = F.avg_pool2d(torch.tensor(x), (2, 3), (2, 2), (0, 1)).numpy() * (6 if kind == "SumPool2d" else 1)
    network = chain(tmp_path, (3, 8, 9), node, out=expected.shape[1:])
    found = run(network, x, steps=1, dtype=torch.float64).outputs["output"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("start", "end", "out"), [(0, -1, (24,)), (1, -1, (2, 12)), (0, 1, (6, 4)), (-2, -1, (2, 12))])
def test_flatten(tmp_path, start, end, out):
    node = nir.Flatten({"input": np.array([2, 3, 4])}, start, end)
    network = chain(tmp_path, (2, 3, 4), node, out=out)
    assert shapes.infer(network)["n0"] == out
    file = save(tmp_path, {"input": nir.Input(np.array([2, 3, 4])), "f": node}, [("input", "f")], type_check=False)
    with h5py.File(file, "r+") as f:
        del f["node/nodes/f/input_type"]
    assert read_nir(file).nodes["f"].input_shape == (2, 3, 4)


def test_nested_subgraphs_become_one_flat_graph(tmp_path):
    lif = nir.LIF(*(np.full(2, v) for v in (1e-3, 1.0, 0.0, 1.0, 0.0)))
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([2])), "lif": lif, "output": nir.Output(np.array([2]))},
        [("input", "lif"), ("lif", "output")],
    )
    outer = nir.NIRGraph(
        {"in": nir.Input(np.array([2])), "deep": inner, "w": nir.Linear(np.eye(2)), "out": nir.Output(np.array([2]))},
        [("in", "deep"), ("deep", "w"), ("w", "deep"), ("deep", "out")],
    )
    nodes = {"input": nir.Input(np.array([2])), "a": outer, "output": nir.Output(np.array([2]))}
    network = read_nir(save(tmp_path, nodes, [("input", "a"), ("a", "output")]))
    assert set(network.nodes) == {"input", "a.deep.lif", "a.w", "output"}
    assert set(network.edges) == {
        ("input", "a.deep.lif"),
        ("a.deep.lif", "a.w"),
        ("a.w", "a.deep.lif"),
        ("a.deep.lif", "output"),
    }


def test_a_subgraph_that_passes_its_input_on(tmp_path):
    inner = nir.NIRGraph(
        {"i": nir.Input(np.array([2])), "s": nir.Scale(np.full(2, 3.0)), "o": nir.Output(np.array([2]))},
        [("i", "s"), ("s", "o"), ("i", "o")],
    )
    nodes = {"input": nir.Input(np.array([2])), "res": inner, "output": nir.Output(np.array([2]))}
    network = read_nir(save(tmp_path, nodes, [("input", "res"), ("res", "output")]))
    found = run(network, np.array([[1.0, 2.0]]), steps=1).outputs["output"]
    np.testing.assert_array_equal(found, [[[4.0, 8.0]]])


def test_input_and_output_nodes_are_added_where_missing(tmp_path):
    lif = nir.LIF(*(np.full(2, v) for v in (1e-3, 1.0, 0.0, 1.0, 0.0)))
    file = save(tmp_path, {"w": nir.Linear(np.ones((2, 3))), "lif": lif}, [("w", "lif")], type_check=False)
    network = read_nir(file)
    assert network.nodes["input_w"].shape == (3,)
    assert network.nodes["output_lif"].shape == (2,)
    single = tmp_path / "single.nir"
    nir.write(single, lif)
    assert len(read_nir(single).edges) == 2


def test_several_inputs_and_a_sum(tmp_path):
    nodes = {
        "a": nir.Input(np.array([2])),
        "b": nir.Input(np.array([3])),
        "wa": nir.Linear(np.ones((2, 2))),
        "wb": nir.Linear(np.ones((2, 3))),
        "s": nir.I(np.full(2, 1e4)),
        "out": nir.Output(np.array([2])),
    }
    network = read_nir(save(tmp_path, nodes, [("a", "wa"), ("b", "wb"), ("wa", "s"), ("wb", "s"), ("s", "out")]))
    x = {"a": np.ones((1, 4, 2)), "b": np.ones((1, 3))}
    np.testing.assert_allclose(run(network, x).outputs["out"][0, :, 0], [5, 10, 15, 20])


def test_scalar_and_single_parameters_stand_for_the_whole_population(tmp_path):
    lif = nir.LIF(*(np.array([v]) for v in (1e-3, 1.0, 0.0, 1.0, 0.0)))
    network = chain(tmp_path, (2, 3), lif, out=(2, 3))
    assert network.nodes["n0"].tau.shape == (2, 3)
    scalar = nir.LIF(*(np.array(v) for v in (1e-3, 1.0, 0.0, 1.0, 0.0)))
    assert chain(tmp_path, (4,), scalar, out=(4,)).nodes["n0"].v_reset.shape == (4,)


def test_self_loop_and_repeated_edges(tmp_path):
    file = save(
        tmp_path,
        {"input": nir.Input(np.array([1])), "s": nir.I(np.array([1e4])), "output": nir.Output(np.array([1]))},
        [("input", "s"), ("s", "s"), ("s", "output"), ("s", "output")],
        type_check=False,
    )
    network = read_nir(file)
    assert len(network.edges) == 3
    assert "repeated" in network.settings["nir_notes"]["value"][0]
    # v[k] = v[k-1] + x + (own output of the step before): 1, 3, 7, 15
    found = run(network, np.ones((1, 1)), steps=4).outputs["output"][0, :, 0]
    np.testing.assert_allclose(found, [1, 3, 7, 15])


def test_version_and_ignored_fields_are_recorded(tmp_path):
    file = save(tmp_path, {"i": nir.Input(np.array([1])), "s": nir.Scale(np.ones(1))}, [("i", "s")])
    with h5py.File(file, "r+") as f:
        f["node/nodes/s/colour"] = 3
    settings = read_nir(file).settings
    assert settings["nir_version"] == {"value": nir.version, "from": "file"}
    assert settings["nir_notes"]["value"] == ["node 's': field 'colour' ignored"]


def rockpool(path: Path, tau: np.ndarray, r: np.ndarray) -> ir.Network:
    nodes = {"i": nir.Input(np.array([tau.size])), "s": nir.LI(tau, r, np.zeros(tau.size))}
    return read_nir(save(path, nodes, [("i", "s")]), Settings.parse(["source=rockpool"]))


def test_rockpools_time_step_comes_from_the_file(tmp_path):
    tau = np.array([1e-2, 2e-2, 4e-3])
    network = rockpool(tmp_path, tau, (tau * np.exp(-1e-3 / tau) / 1e-3).astype(np.float32))
    assert network.semantics.dt == pytest.approx(1e-3, rel=1e-5)
    assert "Rockpool" in network.settings["dt"]["from"]
    # not written by Rockpool's formula: its own import rule
    assert rockpool(tmp_path, tau, np.array([9.0, 9.0, 9.0])).semantics.dt == pytest.approx(4e-4)


def edges_of(file: Path, new: list[tuple[str, str]]) -> None:
    with h5py.File(file, "r+") as f:
        del f["node/edges"]
        f["node"].create_dataset("edges", data=np.array(new, dtype=object), dtype=h5py.string_dtype())


def test_disagreeing_shapes_name_both_nodes_and_shapes(tmp_path):
    with pytest.raises(UsageError) as error:
        chain(tmp_path, (5,), nir.Linear(np.ones((2, 3))), out=(2,))
    assert error.value.code == "ND202"
    assert all(text in error.value.message for text in ("'n0'", "'input'", "3", "(5,)"))


def test_an_edge_to_nowhere(tmp_path):
    file = save(tmp_path, {"i": nir.Input(np.array([1])), "s": nir.Scale(np.ones(1))}, [("i", "s")])
    edges_of(file, [("i", "s"), ("s", "ghost")])
    with pytest.raises(NdeployError) as error:
        read_nir(file)
    assert error.value.code == "ND202"
    assert "ghost" in error.value.message


def test_an_output_declared_in_another_shape_takes_what_arrives(tmp_path):
    assert chain(tmp_path, (2, 3), nir.Scale(np.ones((2, 3))), out=(6,)).nodes["output"].shape == (2, 3)
    with pytest.raises(UsageError, match="ND202"):
        chain(tmp_path, (2, 3), nir.Scale(np.ones((2, 3))), out=(7,))


def test_batched_linear_is_refused_by_name(tmp_path):
    with pytest.raises(NdeployError) as error:
        chain(tmp_path, (4, 3), nir.Linear(np.ones((4, 2, 3))), out=(4, 2))
    assert error.value.code == "ND201"
    assert "'n0'" in error.value.message
