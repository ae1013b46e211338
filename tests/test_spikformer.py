"""Spikformer checkpoints: converted networks equal the torch models; what is not stated is asked for by name."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ndeploy.converters import spikformer

from ndeploy.contents import Contents
from ndeploy.errors import UsageError
from ndeploy.graph.read import read_nir
from ndeploy.graph.shapes import infer
from ndeploy.graph.write import write_nir
from ndeploy.ir import network as net
from ndeploy.settings import Settings

from .fixtures_path import fixture
from .float_replay import replay
from .tiny_spikformer import TinySpikformer


def _save(tmp_path: Path, model: TinySpikformer, args: dict[str, Any] | None, **more: Any) -> Path:
    path = tmp_path / "net.pth.tar"
    state = model.public_state()
    state.update(more)
    torch.save(state if args is None else {"state_dict": state, "args": argparse.Namespace(**args)}, path)
    return path


def _load(path: Path, **settings: str) -> net.Network:
    contents = Contents(path)
    assert spikformer.detect(path, contents)
    return spikformer.load(path, contents, Settings(settings))


VARIANTS = [
    # style, max pools, attention scale of that variant, depth, heads, steps, stem widths, image
    ("linear", "0011", 0.125, 2, 2, 3, (2, 3, 4, 8), (8, 8)),
    ("linear", "0011", 0.125, 1, 3, 5, (3, 3, 6, 12), (12, 8)),
    ("conv1d", "1111", 0.25, 3, 4, 2, (2, 4, 4, 8), (32, 32)),
    ("conv2d", "1111", 0.125, 1, 1, 4, (2, 2, 4, 6), (32, 48)),
]


@pytest.mark.parametrize(("style", "pooling", "scale", "depth", "heads", "steps", "widths", "size"), VARIANTS)
def test_converted_network_equals_the_model(
    tmp_path: Path,
    style: str,
    pooling: str,
    scale: float,
    depth: int,
    heads: int,
    steps: int,
    widths: tuple[int, ...],
    size: tuple[int, int],
) -> None:
    model = TinySpikformer(
        style=style, pooling=pooling, depth=depth, heads=heads, widths=widths, scale=scale, seed=depth
    ).round_to_float32()
    args = {"T": steps, "num_heads": heads, "img_size_h": size[0], "img_size_w": size[1]}
    network = _load(_save(tmp_path, model, {**args, "patch_size": 2 ** pooling.count("1")}))
    assert network.steps == steps
    assert network.settings["pooling"]["value"] == pooling
    assert network.settings["blocks"]["value"] == depth
    infer(network)
    x = torch.randn(6, 2, *size, generator=torch.Generator().manual_seed(9)).double() * 2
    expected = model(x[None].repeat(steps, 1, 1, 1, 1)).numpy()
    logits, rates = replay(network, x.numpy(), steps)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-9)
    assert np.ptp(expected, axis=0).min() > 1e-3, "the model must tell samples apart, or the test proves nothing"
    assert sum(rate > 0.02 for rate in rates.values()) > 0.8 * len(rates)


def test_sequences_as_input(tmp_path: Path) -> None:
    model = TinySpikformer(style="conv1d", pooling="1111", scale=0.25).round_to_float32()
    network = _load(_save(tmp_path, model, None), steps="3", heads="2", image_size="16")
    x = torch.randn(2, 3, 2, 16, 16, generator=torch.Generator().manual_seed(4)).double() * 2
    np.testing.assert_allclose(replay(network, x.numpy(), 3)[0].numpy(), model(x.transpose(0, 1)).numpy(), atol=1e-9)


def test_the_repository_roots_own_key_names(tmp_path: Path) -> None:
    model = TinySpikformer(style="conv2d").round_to_float32()
    state = model.public_state()
    for i in (3, 2, 1, 0):
        for kind in ("conv", "bn"):
            old = f"patch_embed.proj_{kind}{i or ''}."
            state = {k.replace(old, f"patch_embed.block{i + 1}_{kind}."): v for k, v in state.items()}
    torch.save(state, tmp_path / "net.pth")
    network = _load(tmp_path / "net.pth", steps="2", heads="2", image_size="8x16")
    assert network.settings["variant"]["value"] == "root"
    x = torch.randn(3, 2, 8, 16, generator=torch.Generator().manual_seed(6)).double() * 2
    np.testing.assert_allclose(
        replay(network, x.numpy(), 2)[0].numpy(), model(x[None].repeat(2, 1, 1, 1, 1)).numpy(), atol=1e-9
    )


def test_every_other_pooling_by_hand(tmp_path: Path) -> None:
    model = TinySpikformer(pooling="0111").round_to_float32()
    path = _save(tmp_path, model, {"T": 2, "num_heads": 2, "img_size": 16, "patch_size": 8})
    with pytest.raises(UsageError, match="pooling") as error:
        _load(path)
    assert error.value.code == "ND204"
    network = _load(path, pooling="0111")
    x = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(5)).double() * 2
    np.testing.assert_allclose(
        replay(network, x.numpy(), 2)[0].numpy(), model(x[None].repeat(2, 1, 1, 1, 1)).numpy(), atol=1e-9
    )


def test_pools_are_told_by_the_module_names_in_the_file(tmp_path: Path) -> None:
    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch_embed = torch.nn.Module()
            self.patch_embed.maxpool1 = torch.nn.MaxPool2d(3, 2, 1)
            self.patch_embed.maxpool3 = torch.nn.MaxPool2d(3, 2, 1)

    path = _save(tmp_path, TinySpikformer(), {"T": 2, "num_heads": 2, "img_size": 16, "patch_size": 4})
    state = Holder().state_dict()  # an empty state dict whose metadata names the modules
    state.update(TinySpikformer().public_state())
    torch.save({"state_dict": state, "args": argparse.Namespace(T=2, num_heads=2, img_size=16, patch_size=4)}, path)
    network = _load(path)
    assert network.settings["pooling"] == {"value": "0101", "from": "file"}


@pytest.mark.parametrize(("missing", "key"), [("T", "steps"), ("num_heads", "heads"), ("img_size", "image_size")])
def test_what_is_not_stated_is_asked_for(tmp_path: Path, missing: str, key: str) -> None:
    args = {"T": 2, "num_heads": 2, "img_size": 8}
    del args[missing]
    path = _save(tmp_path, TinySpikformer(), args)
    with pytest.raises(UsageError, match=key) as error:
        _load(path)
    assert error.value.code == "ND204"
    assert f"--set {key}=" in error.value.help
    network = _load(path, **{key: "8" if key == "image_size" else "2"})
    assert network.settings[key]["from"] == "--set"


def test_sidecar_stands_between_set_and_args(tmp_path: Path) -> None:
    path = _save(tmp_path, TinySpikformer(), {"T": 2, "num_heads": 2, "img_size": 8})
    (tmp_path / "net.json").write_text(json.dumps({"steps": 6, "tau": 3.0}))
    network = _load(path, tau="4")
    assert network.settings["steps"] == {"value": 6, "from": "sidecar"}
    assert network.settings["tau"] == {"value": 4.0, "from": "--set"}
    assert network.settings["heads"] == {"value": 2, "from": "args"}
    assert network.settings["v_threshold"]["from"] == "family"
    (tmp_path / "net.json").write_text("[1]")
    with pytest.raises(UsageError) as error:
        _load(path)
    assert error.value.code == "ND126"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"heads": "3"}, "ND205"),
        ({"heads": "0"}, "ND205"),
        ({"steps": "0"}, "ND205"),
        ({"steps": "two"}, "ND205"),
        ({"image_size": "8y8"}, "ND205"),
        ({"image_size": "-8"}, "ND205"),
        ({"pooling": "011"}, "ND205"),
        ({"tau": "0.5"}, "ND205"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, settings: dict[str, str], code: str) -> None:
    path = _save(tmp_path, TinySpikformer(), {"T": 2, "num_heads": 2, "img_size": 8})
    with pytest.raises(UsageError) as error:
        _load(path, **settings)
    assert error.value.code == code


def test_bad_weights_are_named(tmp_path: Path) -> None:
    args = {"T": 2, "num_heads": 2, "img_size": 8}
    model = TinySpikformer()
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"block.0.attn.k_linear.weight": torch.zeros(8, 7)}, "k_linear", "ND125"),
        ({"block.1.attn.extra.weight": torch.zeros(3)}, "extra", "ND125"),
        ({"patch_embed.rpe_bn.running_var": -torch.ones(8)}, "rpe_bn", "ND125"),
        ({"head.weight": torch.full((5, 8), float("nan"))}, "head", "ND304"),
    ]
    for change, name, code in cases:
        with pytest.raises(UsageError, match=name) as error:
            _load(_save(tmp_path, model, args, **change))
        assert error.value.code == code
    for name in ("block.1.mlp.fc2_bn.running_mean", "block.0.attn.q_bn.weight", "head.bias"):
        state = model.public_state()
        del state[name]
        torch.save({"state_dict": state, "args": argparse.Namespace(**args)}, tmp_path / "net.pth.tar")
        with pytest.raises(UsageError, match=name.replace(".", r"\.")) as error:
            _load(tmp_path / "net.pth.tar")
        assert error.value.code == "ND125"


def test_the_graph_survives_its_nir_file(tmp_path: Path) -> None:
    model = TinySpikformer().round_to_float32()
    network = _load(_save(tmp_path, model, {"T": 3, "num_heads": 2, "img_size": 8}))
    write_nir(network, tmp_path / "net.nir")
    again = read_nir(tmp_path / "net.nir", Settings({}))
    assert (again.steps, again.decode, again.semantics) == (network.steps, network.decode, network.semantics)
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(7)).double() * 2
    np.testing.assert_array_equal(replay(again, x.numpy(), 3)[0].numpy(), replay(network, x.numpy(), 3)[0].numpy())


def test_dead_layer_norms_are_dropped_and_said(tmp_path: Path) -> None:
    network = _load(_save(tmp_path, TinySpikformer(), {"T": 2, "num_heads": 2, "img_size": 8}))
    assert "block.1.norm1.weight" in network.settings["dropped"]["value"]


@pytest.mark.parametrize("name", ["qkformer", "spike-driven-transformer"])
def test_relatives_are_not_taken_for_it(name: str) -> None:
    path = fixture(f"{name}/checkpoint.pth.tar")
    assert not spikformer.detect(path, Contents(path))


def test_the_trained_network_gives_its_reference_logits() -> None:
    folder = fixture("spikformer")
    network = _load(folder / "checkpoint.pth.tar")
    data, reference = np.load(folder / "eval.npz"), np.load(folder / "reference.npz")
    rows = reference["idx"][:32]
    x = data["x"][rows].astype(np.float64) * float(data["x_scale"])
    logits, _ = replay(network, x, 4)
    np.testing.assert_allclose(logits.numpy(), reference["logits64"][:32], atol=2e-6)


@pytest.mark.long
def test_the_trained_network_gives_its_reference_accuracy() -> None:
    folder = fixture("spikformer")
    network = _load(folder / "checkpoint.pth.tar")
    data, reference = np.load(folder / "eval.npz"), np.load(folder / "reference.npz")
    x = data["x"].astype(np.float64) * float(data["x_scale"])
    found = np.concatenate([replay(network, x[i : i + 100], 4)[0].numpy().argmax(1) for i in range(0, 1000, 100)])
    np.testing.assert_array_equal(found, reference["pred1000"])
    assert (found == data["y"]).mean() == 0.968
