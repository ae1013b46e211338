"""Whole models that come quantised: NetX files, checkpoints with learned steps, machines of graded neurons."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import graded_compile
import graded_networks
import numpy as np
import pytest
import torch
from given_weights import Floats, real_weights, same
from ndeploy.quantize import taken_over

from ndeploy import checkpoint, oracle, sim
from ndeploy.decode import encode
from ndeploy.errors import RefusedError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.lowered import RealSparse
from ndeploy.pipeline import Compiled, CompileOptions, compile_model
from ndeploy.plugins import methods
from ndeploy.quantizer import Request
from ndeploy.settings import Settings

from .fixtures_path import fixture
from .tiny_netx import conv, dense, write_net
from .tiny_netx import lif as netx_lif
from .tiny_spikformer import TinySpikformer


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _on_a_grid(node: net.Node, bits: int) -> net.Node:
    """The node with its weights rounded to a grid of its rows' own."""
    if not isinstance(node, net.Linear | net.Conv):
        return node
    top = np.abs(node.weight).max(axis=tuple(range(1, node.weight.ndim)), keepdims=True)
    step = top / (2 ** (bits - 1) - 1)
    return replace(node, weight=np.rint(node.weight / step) * step)


def _machine(seed: int, **kind: bool) -> tuple[net.Network, Request]:
    network = graded_networks.thinker(seed, **kind)
    network = replace(network, nodes={name: _on_a_grid(node, 4) for name, node in network.nodes.items()})
    asked = graded_compile.request(network, graded_compile.samples(network, 32))
    return network, replace(asked, settings=Settings({"others": "uniform"}))


@pytest.mark.parametrize("kind", [{}, {"unet": True}, {"attention": False}])
def test_graded_neurons_keep_their_weights(kind: dict[str, bool]) -> None:
    network, asked = _machine(1, **kind)
    made = taken_over.quantize(asked, lambda stage: None)
    assert made.explanation is not None
    kept = {r.name: r for r in made.explanation.layers if "as they came" in r.why}
    wanted = {"hidden_value", "hidden_gate", "post_value", "post_gate", "logits"}
    wanted |= {"embed", "k_proj", "v_proj"} if kind.get("attention", True) else set()
    assert wanted <= set(kept), "maps that are no products of two are on a grid"
    for p in asked.lowered.projections:
        if p.name in kept:
            inputs, message = made.choices.inputs, made.choices.message
            worth = inputs[p.source].scale if p.source in inputs else message[p.source].scale
            assert np.size(worth) == 1
            projection = next(x for x in made.program.projections if x.name == p.name)
            step = np.broadcast_to(projection.scale, asked.lowered.population(p.target).shape).reshape(-1)
            if isinstance(p.synapses, RealSparse):
                step = step[p.synapses.target]
            else:
                rows = len(p.synapses.weight)
                step = step.reshape(rows, -1)[:, 0].reshape(-1, *(1,) * (p.synapses.weight.ndim - 1))
            real = projection.synapses.weight * step / np.asarray(worth)
            np.testing.assert_allclose(real, p.synapses.weight, rtol=2.0**-22, atol=0)
            assert projection.weight_bits <= 4
    x = graded_compile.samples(network, 8, 5).x
    got = oracle.run(made.program, encode(made.program, x), strict=True)
    port = made.program.outputs[0]
    found = got.traces[f"spikes/{port.population}"] * port.scale
    expected = next(iter(reference.run(network, x, graded_compile.STEPS, dtype=torch.float64).outputs.values()))
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()


def test_graded_layers_on_no_grid_are_refused() -> None:
    _, asked = _machine(1)
    with pytest.raises(RefusedError, match="lie on no grid") as error:  # a query is a product of two maps
        taken_over.quantize(replace(asked, settings=None), lambda stage: None)
    assert error.value.code == "ND310"


def _both(path: Path, steps: int, **more: Any) -> tuple[Compiled, Compiled]:
    return tuple(compile_model(path, CompileOptions(steps=steps, method=m, **more)) for m in ("uniform", "taken-over"))  # type: ignore[return-value]


def test_a_netx_network_is_the_program_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = [
        {"type": "input", "shape": np.array([2, 5, 5])},
        conv(rng.integers(-20, 20, (3, 2, 3, 3)) * 2, (3, 3, 3), netx_lif(vth=40)),
        dense(rng.integers(-100, 100, (4, 27)), netx_lif(vth=90)),
    ]
    uniform, made = _both(write_net(tmp_path / "a.net", layers), 5)
    same(uniform.program, made.program)
    assert made.explanation is not None
    assert [(r.bits, r.parameters) for r in made.explanation.layers] == [
        (p.weight_bits, p.synapses.weight.size) for p in made.program.projections
    ]
    assert all("integers of the file" in r.why for r in made.explanation.layers)


@pytest.mark.parametrize("name", ["oxford/network.net", "tinynet/tiny.net"])
def test_netx_fixtures_are_the_programs_they_were(name: str) -> None:
    uniform, made = _both(fixture(f"netx/{name}"), 15)
    same(uniform.program, made.program)


def test_oxfords_golden_spikes_through_the_method() -> None:
    folder, steps = fixture("netx/oxford"), 300
    made = compile_model(folder / "network.net", CompileOptions(steps=steps, method="taken-over"))

    def events(name: str) -> Floats:
        found = np.zeros((steps, 200), dtype=np.int64)
        neuron, _, time = np.load(folder / name).T
        inside = np.rint(time) < steps
        found[np.rint(time[inside]).astype(int), neuron[inside].astype(int)] = 1
        return found

    result = sim.run(made.program, encode(made.program, events("input.npy")[None]), trace=True)
    golden = events("ground_truth.npy")
    assert golden.sum() > steps
    assert int((result.traces["spikes/layer1"][0][:-2] != golden[2:]).sum()) == 0


def _differing(made: Compiled, traces: Mapping[str, Floats], values: Mapping[str, Floats]) -> float:
    """The share of spikes that the program and the float network do not agree on."""
    differ = count = 0
    for name, node in made.network.nodes.items():
        if isinstance(node, net.LIF):
            spikes = traces[f"spikes/{name}"]
            differ += int((spikes != np.broadcast_to(values[name], spikes.shape)).sum())
            count += spikes.size
    return differ / count


def test_a_checkpoint_with_learned_steps(tmp_path: Path) -> None:
    state = TinySpikformer(seed=3).round_to_float32().public_state()
    latent = dict(state)
    for name in [k.removesuffix(".weight") for k, v in latent.items() if k.endswith(".weight") and v.ndim > 1]:
        weight = latent[f"{name}.weight"]
        mean = weight.abs().flatten(1).mean(1) if name != "head" else weight.abs().mean().reshape(1)
        state[f"{name}.alpha"], state[f"{name}.init_state"] = mean * 2 / 7**0.5, torch.ones(1)
    args = argparse.Namespace(T=4, num_heads=2, img_size=16, nbits_w=4)
    torch.save({"state_dict": state, "args": args}, tmp_path / "net.pt")
    x = np.random.default_rng(1).random((12, 2, 16, 16)).astype(np.float32) * 2
    np.savez(tmp_path / "x.npz", x=x)
    made = compile_model(tmp_path / "net.pt", CompileOptions(method="taken-over", calibration=tmp_path / "x.npz"))
    assert made.explanation is not None
    assert {reason.bits for reason in made.explanation.layers} <= {2, 3, 4, 5}
    assert made.program.meta["method"] == "taken-over"
    for name, node in made.network.nodes.items():
        if isinstance(node, net.Conv):
            real = real_weights(made.program, name)
            fan = next(p for p in made.program.projections if p.name == name).source
            worth = made.program.inputs[0].scale if fan == "input" else 1.0
            np.testing.assert_allclose(real, node.weight.reshape(real.shape) * worth, rtol=2.0**-22, atol=0)
    messages = encode(made.program, x)
    seen = messages["input"][:, 0] * made.program.inputs[0].scale
    got = sim.run(made.program, messages, trace=True)
    expected = reference.run(made.network, seen, dtype=torch.float64, trace=True)
    assert _differing(made, got.traces, expected.values) <= 1e-3
    np.testing.assert_array_equal(got.predictions, expected.predictions("sum"))


@pytest.mark.long
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_trained_spikformer_with_steps_beside_its_weights(tmp_path: Path, bits: int) -> None:
    folder = fixture("spikformer")
    loaded = checkpoint.load(folder / "checkpoint.pth.tar")
    state = {name: torch.from_numpy(value) for name, value in loaded.state.items()}
    for name in [k.removesuffix(".weight") for k, v in state.items() if k.endswith(".weight") and v.ndim > 1]:
        weight = state[f"{name}.weight"]
        top = weight.abs().max() if name == "head" else weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True)
        state[f"{name}.quan_w_fn.s"] = top / (2 ** (bits - 1) - 1)
    torch.save({"state_dict": state, "args": argparse.Namespace(**loaded.args)}, tmp_path / "net.pth.tar")
    options = CompileOptions(
        method="taken-over", settings={"weight_bits": str(bits)}, calibration=folder / "calibration.npz"
    )
    made = compile_model(tmp_path / "net.pth.tar", options)
    with np.load(folder / "eval.npz") as data:
        messages = encode(made.program, data["x"][:16], float(data["x_scale"]))
    pixels = messages["input"][:, 0] * made.program.inputs[0].scale
    got = sim.run(made.program, messages, trace=True)
    expected = reference.run(made.network, pixels, dtype=torch.float64, trace=True)
    assert _differing(made, got.traces, expected.values) <= 1e-3
    np.testing.assert_array_equal(got.predictions, expected.predictions("sum"))


def test_the_method_is_found_by_its_name() -> None:
    assert methods()["taken-over"] is taken_over
