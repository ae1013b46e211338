"""CTM checkpoints: the equations equal the public code's traces, and converted networks equal the equations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ndeploy.converters import _ctm_backbone, ctm

from ndeploy import checkpoint
from ndeploy.contents import Contents
from ndeploy.graph import reference
from ndeploy.graph.shapes import infer
from ndeploy.ir import network as net
from ndeploy.settings import Settings

from . import ctm_equations, tiny_ctm
from .fixtures_path import fixture

FIXTURES = {"parity": (4, (9, 2)), "digits": (4, (-1,)), "sort": (0, (-1,))}
"""Heads and reshaper."""
SIGNALS = ("pre", "post", "synch_out", "synch_action", "attention")


def _load(path: Path, **given: str) -> net.Network:
    contents = Contents(path)
    assert ctm.detect(path, contents)
    return ctm.load(path, contents, Settings(given))


def _close(value: Any, expected: Any, tolerance: float) -> None:
    """Within `tolerance` of the largest expected value."""
    worst, largest = float(np.abs(value - expected).max()), float(np.abs(expected).max())
    assert worst <= tolerance * max(1.0, largest)


def _compare(network: net.Network, ticks: ctm_equations.Ticks, x: Any, tolerance: float = 1e-10) -> None:
    """The network's reference run, tick for tick, against the equations."""
    shapes = infer(network)
    result = reference.run(network, x, dtype=torch.float64, trace=True)
    for name in SIGNALS:
        expected = getattr(ticks, name)
        if expected is not None:
            _close(result.values[name].swapaxes(0, 1).reshape(expected.shape), expected, tolerance)
    if ticks.kv is not None:
        _close(result.values["kv"][:, 0], ticks.kv.swapaxes(1, 2), tolerance)
        assert shapes["kv"] == result.values["kv"].shape[2:]
    _close(result.outputs["output"].swapaxes(0, 1), ticks.logits, tolerance)


def _check(path: Path, made: tiny_ctm.Choices, seed: int = 0) -> None:
    network = _load(path)
    x = tiny_ctm.samples(made, 3, seed)
    ticks = ctm_equations.run(
        checkpoint.load(path).state, x, iterations=made.iterations, heads=made.heads, reshaper=made.reshaper
    )
    assert np.isfinite(ticks.logits).all()
    _compare(network, ticks, x)
    assert network.steps == made.iterations
    shape = np.empty(made.outputs).reshape(made.reshaper).shape
    assert network.answer == (shape if len(shape) > 1 else ())


@pytest.mark.parametrize("name", FIXTURES)
def test_equations_equal_the_public_code(name: str) -> None:
    folder = fixture(f"ctm/{name}")
    loaded = checkpoint.load(folder / "checkpoint.pt")
    heads, reshaper = FIXTURES[name]
    setup: dict[str, Any] = {"iterations": loaded.args["iterations"], "heads": heads, "reshaper": reshaper}
    trace, given = np.load(folder / "trace.npz"), np.load(folder / "reference.npz")
    ticks = ctm_equations.run(loaded.state, trace["x"], **setup)
    for signal in SIGNALS:
        value = getattr(ticks, signal)
        if value is not None:
            _close(trace[signal].reshape(value.shape), value, 1e-5)
    ticks = ctm_equations.run(loaded.state, given["x"], **setup)
    _close(given["logits"].transpose(2, 0, 1), ticks.logits, 1e-5)
    _close(given["certainties"][:, 1].T, ticks.certainty, 1e-5)
    # certainties near 1 are equal in float32, so the reference may answer at another of these ticks
    chosen = given["certainties"][:, 1].argmax(-1)
    assert (ticks.certainty[chosen, np.arange(len(chosen))] >= ticks.certainty.max(0) - 1e-6).all()


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_as_a_network(name: str) -> None:
    folder = fixture(f"ctm/{name}")
    network = _load(folder / "checkpoint.pt")
    heads, reshaper = FIXTURES[name]
    x = np.load(folder / "trace.npz")["x"]
    state = checkpoint.load(folder / "checkpoint.pt").state
    assert network.steps is not None
    ticks = ctm_equations.run(state, x, iterations=network.steps, heads=heads, reshaper=reshaper)
    _compare(network, ticks, x)
    typical = {"parity": "signs", "digits": "", "sort": "normal"}[name]
    entry = network.nodes["x"]
    assert isinstance(entry, net.Input)
    assert (entry.static, entry.typical, entry.shape) == (True, typical, x.shape[1:])
    assert network.decode == ("ctc" if name == "sort" else "most-certain")
    assert network.answer == ((9, 2) if name == "parity" else ())
    assert network.settings["iterations"]["from"] == "args"
    assert network.settings["d_model"] == {"value": 128, "from": "weights"}
    assert all(said["value"] is not None for said in network.settings.values())
    if name == "sort":
        assert network.settings["decay_out_clamped_below"]["value"] == int((state["decay_params_out"] < 0).sum())


def test_nodes_have_the_names_that_others_rely_on(tmp_path: Path) -> None:
    tiny_ctm.write(tmp_path / "m.pt", backbone="resnet18-1")
    kinds = {name: type(node).__name__ for name, node in _load(tmp_path / "m.pt").nodes.items()}
    expected = {
        "x": "Input",
        "kv": "LayerNorm",
        "k": "Activation",
        "v": "Activation",
        "synch_action": "Synchronisation",
        "q": "Activation",
        "scores": "Product",
        "attention": "Softmax",
        "context": "Activation",
        "synapse": "Gate",
        "pre": "LayerNorm",
        "trace": "Trace",
        "hidden": "Gate",
        "post": "Gate",
        "z": "Register",
        "synch_out": "Synchronisation",
        "logits": "Linear",
        "output": "Output",
        "backbone.maxpool": "Pool",
    }
    assert expected.items() <= kinds.items()


CASES: dict[str, dict[str, Any]] = {
    "images without a backbone": {"image": (3, 5)},
    "sort": {"heads": 0, "length": 6, "select": "random", "n_out": 3},
    "sort, U-Net": {"heads": 0, "depth": 3, "neurons": 24, "hidden": 0, "normed": True},
    "parity": {"backbone": "parity_backbone", "position": "custom-rotational-1d", "reshaper": (3, 2), "length": 3},
    "parity, first-last, normalised": {"backbone": "parity_backbone", "select": "first-last", "normed": True},
    "resnet18-1, Fourier": {"backbone": "resnet18-1", "position": "learnable-fourier", "image": (7, 9)},
    "resnet18-2, rotational, U-Net": {
        "backbone": "resnet18-2",
        "position": "custom-rotational",
        "image": (8, 8),
        "depth": 4,
        "neurons": 30,
    },
    "resnet50-2, many Fouriers, shallow": {
        "backbone": "resnet50-2",
        "position": "multi-learnable-fourier",
        "image": (8, 10),
        "hidden": 0,
    },
    "resnet34-3, a route": {"backbone": "resnet34-3", "image": (9, 9), "channels": 3, "reshaper": (2, 3)},
    "shallow-wide": {"backbone": "shallow-wide", "image": (8, 6), "position": "learnable-fourier"},
    "shallow-wide of odd size": {"backbone": "shallow-wide", "image": (5, 7), "hidden": 1, "heads": 4},
    "one of everything": {"hidden": 1, "memory": 1, "depth": 2, "neurons": 16, "n_out": 1, "n_action": 1, "heads": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_architectures(tmp_path: Path, case: str) -> None:
    made = tiny_ctm.write(tmp_path / "m.pt", seed=len(case), **CASES[case])
    _check(tmp_path / "m.pt", made)


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations over the whole space, tiny."""
    heads = draw(st.sampled_from([0, 1, 2, 4]))
    backbone = draw(st.sampled_from(["none", "parity_backbone", "resnet18-1", "shallow-wide"])) if heads else "none"
    positions = {"none": ["none"], "parity_backbone": ["none", "custom-rotational-1d"]}
    position = draw(st.sampled_from(positions.get(backbone, ["none", *tiny_ctm.POSITIONS[1:4]])))
    neurons = draw(st.integers(8, 20))
    side = draw(st.integers(4, 7))
    reshaper = draw(st.sampled_from([(-1,), (3, 2), (2, -1)]))
    return {
        "heads": heads,
        "backbone": backbone,
        "position": position,
        "neurons": neurons,
        "memory": draw(st.integers(1, 5)),
        "iterations": draw(st.integers(1, 7)),
        "depth": draw(st.integers(1, 4)),
        "hidden": draw(st.integers(0, 3)),
        "normed": draw(st.booleans()),
        "select": draw(st.sampled_from(tiny_ctm.SELECTIONS)),
        "n_out": draw(st.integers(1, 4)),
        "n_action": draw(st.integers(1, 4)),
        "image": (side, side if position == "custom-rotational" else draw(st.integers(4, 7))),
        "channels": draw(st.integers(1, 3)),
        "length": draw(st.integers(1, 6)),
        "reshaper": reshaper,
    }


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=choices(), seed=st.integers(0, 2**16))
def test_random_architectures(tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any], seed: int) -> None:
    path = tmp_path_factory.mktemp("ctm") / "m.pt"
    _check(path, tiny_ctm.write(path, seed, **made), seed)


# -- files and settings ------------------------------------------------------------------------------------------------


STATED = {"iterations": "5", "heads": "2", "prediction_reshaper": "3,2", "image_size": "4x4"}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_bare_state_dicts_with_settings(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bare{suffix}"
    made = tiny_ctm.write(path, args={})
    network = _load(path, **STATED)
    assert network.answer == (3, 2)
    assert network.settings["heads"] == {"value": 2, "from": "--set"}
    x = tiny_ctm.samples(made, 2)
    ticks = ctm_equations.run(checkpoint.load(path).state, x, iterations=5, heads=2, reshaper=(3, 2))
    _compare(network, ticks, x)


@pytest.mark.parametrize("name", ["bare.json", "bare.safetensors.json", "config.json"])
def test_sidecars(tmp_path: Path, name: str) -> None:
    """The model hub's config.json holds what the public class was made with."""
    tiny_ctm.write(tmp_path / "bare.safetensors", args={})
    config = {"iterations": 5, "heads": 2, "prediction_reshaper": [3, 2], "image_size": "4x4", "d_model": 12}
    (tmp_path / name).write_text(
        json.dumps({**config, "dropout": 0, "deep_nlms": True, "use_thought_attention": False})
    )
    network = _load(tmp_path / "bare.safetensors")
    assert (network.steps, network.answer) == (5, (3, 2))
    assert network.settings["heads"] == {"value": 2, "from": "sidecar"}


def test_keys_of_wrapped_modules(tmp_path: Path) -> None:
    """DataParallel puts a prefix before every name, torch.compile one behind the name of what was compiled."""
    made = tiny_ctm.Choices(backbone="resnet18-1")
    state = tiny_ctm.state(made)
    wrapped = {
        "module." + name.replace("synapses.", "synapses._orig_mod.").replace("backbone.", "backbone._orig_mod."): value
        for name, value in state.items()
    }
    tiny_ctm.save(tmp_path / "wrapped.pt", wrapped, made.args())
    x = tiny_ctm.samples(made, 2)
    _compare(_load(tmp_path / "wrapped.pt"), ctm_equations.run(state, x, iterations=5, heads=2), x)


@pytest.mark.parametrize(
    ("choices", "args", "shape", "answer"),
    [
        ({"backbone": "parity_backbone", "length": 3}, {"parity_sequence_length": 3}, (3,), (3, 2)),
        ({"reshaper": (2, 5), "outputs": 10}, {"maze_route_length": 2, "dataset": "mazes-medium"}, (2, 39, 39), (2, 5)),
        ({}, {"dataset": "cifar10"}, (2, 32, 32), ()),
        ({"heads": 0}, {"N_to_sort": 5}, (5,), ()),
    ],
)
def test_reshaper_and_sizes_follow_from_what_training_scripts_keep(
    tmp_path: Path, choices: dict[str, Any], args: dict[str, Any], shape: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    made = tiny_ctm.Choices(**choices)
    told = {k: v for k, v in made.args().items() if k not in ("prediction_reshaper", "img_size")}
    tiny_ctm.write(tmp_path / "m.pt", args={**told, **args}, **choices)
    network = _load(tmp_path / "m.pt")
    entry = network.nodes["x"]
    assert isinstance(entry, net.Input)
    assert entry.shape == shape
    assert network.answer == answer


def test_task_can_be_stated(tmp_path: Path) -> None:
    tiny_ctm.write(tmp_path / "m.pt", heads=0)
    assert _load(tmp_path / "m.pt").decode == "ctc"
    assert _load(tmp_path / "m.pt", task="classification").decode == "most-certain"


def test_decays_are_clamped_as_the_reference_clamps_them(tmp_path: Path) -> None:
    made = tiny_ctm.Choices()
    state = tiny_ctm.state(made)
    state["decay_params_out"] = np.array([-3.0, 0.0, 1.0, 99.0], dtype=np.float32)
    tiny_ctm.save(tmp_path / "m.pt", state, made.args())
    network = _load(tmp_path / "m.pt")
    node = network.nodes["synch_out"]
    assert isinstance(node, net.Synchronisation)
    np.testing.assert_allclose(node.decay, np.exp([0.0, 0.0, -1.0, -15.0]))
    assert network.settings["decay_out_clamped_below"] == {"value": 1, "from": "weights"}
    assert network.settings["decay_out_clamped_above"] == {"value": 1, "from": "weights"}


@pytest.mark.parametrize(("groups", "shape", "kernel"), [(1, (4, 5), 3), (2, (1, 3), 3), (4, (3, 1), 1)])
def test_bias_of_a_padded_border(groups: int, shape: tuple[int, int], kernel: int) -> None:
    rng = np.random.default_rng(kernel)
    weight, shift = rng.normal(size=(8, 8 // groups, kernel, kernel)), rng.normal(size=8)
    constant = torch.from_numpy(np.broadcast_to(shift[:, None, None], (8, *shape)).copy())
    expected = torch.nn.functional.conv2d(constant[None], torch.from_numpy(weight), padding=kernel // 2, groups=groups)
    np.testing.assert_allclose(_ctm_backbone.border_bias(weight, shift, shape, groups), expected[0].numpy(), atol=1e-12)
