"""Checkpoints with learned step sizes: the converted network is the one that training ran, whatever its layout."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ndeploy.converters import _lsq, ctm, spikformer
from ndeploy.converters._options import Options
from torch import Tensor

from ndeploy.contents import Contents
from ndeploy.errors import NdeployError, RefusedError, UsageError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.settings import Settings

from . import tiny_ctm
from .tiny_spikformer import TinySpikformer

State = dict[str, Tensor]
ARGS: dict[str, Any] = {"T": 3, "num_heads": 2, "img_size": 8}


def _per_tensor(weight: Tensor, bits: int) -> Tensor:
    return (2 * weight.abs().mean() / (2 ** (bits - 1) - 1) ** 0.5).reshape(1)


def _per_channel(weight: Tensor, bits: int) -> Tensor:
    return 2 * weight.abs().flatten(1).mean(1) / (2 ** (bits - 1) - 1) ** 0.5


def _lsq_net(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.quan_w_fn.s": _per_channel(weight, bits).reshape(-1, *(1,) * (weight.ndim - 1))}


def _lsq_net_scalar(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.quan_w_fn.s": _per_tensor(weight, bits)[0]}


def _hustzxd(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.alpha": _per_tensor(weight, bits), f"{name}.init_state": torch.ones(1)}


def _qsd(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.alpha": _per_channel(weight, bits), f"{name}.init_state": torch.ones(1)}


def _step_size(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.step_size": _per_tensor(weight, bits), f"{name}.init_state": torch.ones(1)}


def _module(name: str, weight: Tensor, bits: int) -> State:
    return {f"{name}.weight_quantizer.scale": _per_channel(weight, bits)}


LAYOUTS = [_lsq_net, _lsq_net_scalar, _hustzxd, _qsd, _step_size, _module]
STYLES = ["linear", "conv1d", "conv2d"] * 2
Layout = Callable[[str, Tensor, int], State]


def _layers(state: State) -> list[str]:
    return [k.removesuffix(".weight") for k, v in state.items() if k.endswith(".weight") and v.ndim > 1]


def _fake_quantised(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """As the public code's forward pass computes it, in float32."""
    step = step.reshape(-1, *(1,) * (weight.ndim - 1)) if step.numel() > 1 else step.reshape(())
    return (weight / step).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).round() * step


def _trained(layout: Layout, bits: int, state: State) -> tuple[State, State]:
    """(the checkpoint: latent weights and steps; the same network with the weights it computes with)."""
    saved, computed = dict(state), dict(state)
    for name in _layers(state):
        extra = layout(name, state[f"{name}.weight"], bits)
        saved.update(extra)
        computed[f"{name}.weight"] = _fake_quantised(state[f"{name}.weight"], next(iter(extra.values())), bits)
    return saved, computed


def _spikformer(path: Path, state: State, args: dict[str, Any] | None = None, **settings: str) -> net.Network:
    torch.save({"state_dict": state, "args": argparse.Namespace(**(ARGS if args is None else args))}, path)
    contents = Contents(path)
    assert spikformer.detect(path, contents)
    return spikformer.load(path, contents, Settings(settings))


def _state(style: str = "linear", seed: int = 1) -> State:
    return TinySpikformer(style=style, seed=seed).round_to_float32().public_state()


@pytest.mark.parametrize(("layout", "style", "bits"), list(zip(LAYOUTS, STYLES, (4, 3, 2, 4, 3, 8), strict=True)))
def test_every_layout_runs_as_it_was_trained(tmp_path: Path, layout: Layout, style: str, bits: int) -> None:
    saved, computed = _trained(layout, bits, _state(style))
    found = _spikformer(tmp_path / "lsq.pt", saved, {**ARGS, "nbits_w": bits})
    expected = _spikformer(tmp_path / "plain.pt", computed)
    for name, node in expected.nodes.items():
        if isinstance(node, net.Conv | net.Linear):
            other = found.nodes[name]
            assert isinstance(other, type(node))
            np.testing.assert_allclose(other.weight, node.weight, rtol=1.2e-7, atol=0)
    x = np.random.default_rng(2).normal(size=(8, 2, 8, 8)) * 2
    runs = [reference.run(n, x, 3, dtype=torch.float64, trace=True) for n in (found, expected)]
    spikes = 0.0
    for name, node in expected.nodes.items():
        if isinstance(node, net.LIF):
            np.testing.assert_array_equal(runs[0].values[name], runs[1].values[name])
            spikes += float(runs[1].values[name].sum())
    assert spikes > 500
    latent = _spikformer(tmp_path / "latent.pt", _state(style))
    changed = reference.run(latent, x, 3, dtype=torch.float64).outputs["output"] - runs[1].outputs["output"]
    assert np.abs(changed).max() > 1e-3, "the steps must matter, or the test proves nothing"
    note = found.settings["lsq"]
    assert note["from"] == "keys"
    assert set(note["value"]["bits"].values()) == {bits}
    assert found.settings["weight_bits"] == {"value": bits, "from": "args"}


def test_weights_are_whole_multiples_of_their_steps() -> None:
    saved, _ = _trained(_qsd, 4, _state())
    arrays = {k: v.numpy() for k, v in saved.items()}
    given = _lsq.quantised(Path("a.pt"), arrays, Options(Settings({"weight_bits": "4"}), {}, {}))
    for name in _layers(_state()):
        step = arrays[f"{name}.alpha"].astype(np.float64)
        whole = given.state[f"{name}.weight"] / step.reshape(-1, *(1,) * (given.state[f"{name}.weight"].ndim - 1))
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-12)
        assert -8.0 <= whole.min() < whole.max() <= 7.0
        assert f"{name}.alpha" not in given.state
        assert f"{name}.init_state" not in given.state


def test_halves_round_to_even() -> None:
    state = {"a.weight": np.array([[0.5, 1.5, -0.5, -2.5, 3.5]], dtype=np.float32), "a.step_size": np.ones(1, "f4")}
    given = _lsq.quantised(Path("a.pt"), state, Options(Settings({"weight_bits": "3"}), {}, {}))
    np.testing.assert_array_equal(given.state["a.weight"], [[0.0, 2.0, 0.0, -2.0, 3.0]])


def test_both_ends_of_the_range() -> None:
    state = {"a.weight": np.array([[-9.0, 9.0]], dtype=np.float32), "a.step_size": np.ones(1, "f4")}
    for name, expected in (("full", [-8.0, 7.0]), ("symmetric", [-7.0, 7.0])):
        settings = Settings({"weight_bits": "4", "weight_range": name})
        given = _lsq.quantised(Path("a.pt"), state, Options(settings, {}, {}))
        np.testing.assert_array_equal(given.state["a.weight"], [expected])


def test_missing_bits_are_asked_for_by_name(tmp_path: Path) -> None:
    saved, _ = _trained(_qsd, 4, _state())
    with pytest.raises(UsageError, match="weight_bits") as error:
        _spikformer(tmp_path / "a.pt", saved)
    assert error.value.code == "ND204"
    assert "--set weight_bits=" in error.value.help
    network = _spikformer(tmp_path / "a.pt", saved, weight_bits="4")
    assert network.settings["weight_bits"] == {"value": 4, "from": "--set"}


def test_a_sidecar_states_the_bits(tmp_path: Path) -> None:
    saved, _ = _trained(_lsq_net, 4, _state())
    (tmp_path / "a.json").write_text(json.dumps({"weight_bits": 4, "weight_bits.head": 8}))
    network = _spikformer(tmp_path / "a.pt", saved)
    assert network.settings["weight_bits"] == {"value": 4, "from": "sidecar"}
    assert network.settings["lsq"]["value"]["bits"]["head"] == 8
    assert network.settings["lsq"]["value"]["bits"]["block.0.attn.q_linear"] == 4


def test_layers_of_their_own_width(tmp_path: Path) -> None:
    state = _state()
    saved, _ = _trained(_qsd, 4, state)
    saved["head.nbits"] = torch.tensor(6)
    given = {"weight_bits": "4", "weight_bits.patch_embed.proj_conv": "8"}
    bits = _spikformer(tmp_path / "a.pt", saved, **given).settings["lsq"]["value"]["bits"]
    assert (bits["head"], bits["patch_embed.proj_conv"], bits["patch_embed.rpe_conv"]) == (6, 8, 4)


def test_float_layers_stay_as_they_are(tmp_path: Path) -> None:
    state = _state()
    saved, _ = _trained(_qsd, 4, state)
    for part in ("alpha", "init_state"):
        del saved[f"head.{part}"]
    network = _spikformer(tmp_path / "a.pt", saved, weight_bits="4")
    assert "head" not in network.settings["lsq"]["value"]["bits"]
    plain = _spikformer(tmp_path / "b.pt", state)
    head, expected = network.nodes["head"], plain.nodes["head"]
    assert isinstance(head, net.Linear)
    assert isinstance(expected, net.Linear)
    np.testing.assert_array_equal(head.weight, expected.weight)


def test_a_checkpoint_without_steps_records_nothing(tmp_path: Path) -> None:
    network = _spikformer(tmp_path / "a.pt", _state())
    assert not {"lsq", "weight_bits", "weight_range"} & set(network.settings)


def _spoilt(name: str, value: Tensor) -> Callable[[State], None]:
    return lambda state: state.update({name: value})


HEAD = "head.alpha"
BAD: dict[str, tuple[Callable[[State], None], type[NdeployError], str, str]] = {
    "never initialised": (_spoilt("head.init_state", torch.zeros(1)), UsageError, "ND125", "never initialised"),
    "step of zero": (_spoilt(HEAD, torch.zeros(1)), UsageError, "ND125", "step of 0"),
    "steps of the wrong shape": (_spoilt(HEAD, torch.ones(3)), UsageError, "ND125", HEAD),
    "whole steps": (_spoilt(HEAD, torch.ones(1, dtype=torch.int64)), UsageError, "ND125", HEAD),
    "an offset": (_spoilt("head.beta", torch.full((1,), 0.1)), RefusedError, "ND201", "offset"),
    "activations too": (_spoilt("head.act.alpha", torch.ones(1)), RefusedError, "ND201", "enters it"),
    "one bit": (_spoilt("head.nbits", torch.tensor(1)), UsageError, "ND205", "1 weight bits"),
    "half a bit": (_spoilt("head.nbits", torch.tensor(2.5)), UsageError, "ND205", "weight_bits.head"),
    "an alpha that is none": (lambda state: state.pop("head.init_state") and None, UsageError, "ND125", HEAD),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_taken_over_is_refused(tmp_path: Path, name: str) -> None:
    spoil, kind, code, match = BAD[name]
    saved, _ = _trained(_qsd, 4, _state())
    spoil(saved)
    with pytest.raises(kind, match=match) as error:
        _spikformer(tmp_path / "a.pt", saved, weight_bits="4")
    assert error.value.code == code


def test_a_thought_machine(tmp_path: Path) -> None:
    made = tiny_ctm.Choices()
    state = {k: torch.from_numpy(np.array(v)).float() for k, v in tiny_ctm.state(made).items() if v.dtype.kind == "f"}
    others = {k: v for k, v in tiny_ctm.state(made).items() if v.dtype.kind != "f"}
    names = ["q_proj", "output_projector.0", "kv_proj.0"]
    saved, computed = dict(state), dict(state)
    for name in names:
        step = _per_tensor(state[f"{name}.weight"], 4)
        saved[f"{name}.quan_w_fn.s"] = step
        computed[f"{name}.weight"] = _fake_quantised(state[f"{name}.weight"], step, 4)
    runs = []
    for file, tensors, settings in (("a.pt", saved, {"weight_bits": "4"}), ("b.pt", computed, {}), ("c.pt", state, {})):
        path = tmp_path / file
        tiny_ctm.save(path, {**others, **{k: v.numpy() for k, v in tensors.items()}}, made.args())
        network = ctm.load(path, Contents(path), Settings(settings))
        runs.append(reference.run(network, tiny_ctm.samples(made, 3), dtype=torch.float64).outputs["output"])
        assert set(network.settings.get("lsq", {"value": {"bits": ()}})["value"]["bits"]) == set(
            names if settings else ()
        )
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-5)
    assert np.abs(runs[1] - runs[2]).max() > 1e-2
