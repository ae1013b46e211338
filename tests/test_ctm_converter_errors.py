"""CTM checkpoints that cannot be converted: every refusal has a code and names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ndeploy.converters import ctm

from ndeploy.contents import Contents
from ndeploy.errors import NdeployError
from ndeploy.settings import Settings

from . import tiny_ctm
from .tiny_ctm import Choices, State


def _refused(path: Path, code: str, *words: str, **given: str) -> None:
    contents = Contents(path)
    assert ctm.detect(path, contents)
    with pytest.raises(NdeployError) as caught:
        ctm.load(path, contents, Settings(given))
    assert caught.value.code == code, str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _without(name: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        del state[name]

    return change


def _with(name: str, value: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[name] = np.asarray(value)

    return change


def _resized(name: str, *slices: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[name] = state[name][slices]

    return change


RESNET = {"backbone": "resnet18-1"}
PARITY = {"backbone": "parity_backbone", "reshaper": (3, 2), "length": 3}


@pytest.mark.parametrize(
    ("missing", "key"),
    [
        ("iterations", "iterations"),
        ("heads", "heads"),
        ("prediction_reshaper", "prediction_reshaper"),
        ("img_size", "image_size"),
    ],
)
def test_what_weights_do_not_say_is_asked_for(tmp_path: Path, missing: str, key: str) -> None:
    args = Choices().args()
    del args[missing]
    tiny_ctm.write(tmp_path / "m.pt", args=args)
    _refused(tmp_path / "m.pt", "ND204", f"'{key}'", f"--set {key}=")


@pytest.mark.parametrize(
    ("key", "said", "found", "choices"),
    [
        ("d_model", 13, "12", {}),
        ("memory_length", 25, "4", {}),
        ("d_input", 16, "8", {}),
        ("memory_hidden_dims", 4, "3", {}),
        ("deep_memory", False, "True", {}),
        ("deep_memory", True, "False", {"hidden": 0}),
        ("do_normalisation", True, "False", {}),
        ("synapse_depth", 4, "1", {}),
        ("n_synch_out", 5, "4", {}),
        ("n_synch_action", 5, "4", {}),
        ("out_dims", 7, "6", {}),
        ("N_to_sort", 7, "5", {"heads": 0}),
        ("backbone_type", "resnet34-1", "resnet18-1", RESNET),
        ("backbone_type", "resnet18-2", "resnet18-1", RESNET),
        ("backbone_type", "none", "resnet18-1", RESNET),
        ("positional_embedding_type", "custom-rotational", "none", RESNET),
        ("neuron_select_type", "random", "random-pairing", {}),
        ("neuron_select_type", "first-last", "random", {"select": "random"}),
        ("neuron_select_type", "random-pairing", "random", {"select": "first-last"}),
    ],
)
def test_args_that_contradict_the_weights(
    tmp_path: Path, key: str, said: Any, found: str, choices: dict[str, Any]
) -> None:
    args = {**Choices(**choices).args(), key: said}
    tiny_ctm.write(tmp_path / "m.pt", args=args, **choices)
    _refused(tmp_path / "m.pt", "ND209", "args", f"{key} is {said}", found)


def test_settings_and_sidecars_that_contradict_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    tiny_ctm.write(path)
    _refused(path, "ND209", "--set", "d_model is 99", "12", d_model="99")
    ctm.load(path, Contents(path), Settings({"d_model": "12", "deep_nlms": "true"}))
    (tmp_path / "m.json").write_text(json.dumps({"memory_length": 7}))
    _refused(path, "ND209", "sidecar", "memory_length is 7", "4")


def test_names_of_one_thing_agree(tmp_path: Path) -> None:
    """One stage does not tell resnet50 from resnet101; all pairs of neurons in a row are first-last and random."""
    deep = {"backbone": "resnet50-1", "select": "first-last"}
    for name in ("resnet50-1", "resnet101-1", "resnet152-1"):
        for select in ("first-last", "random"):
            args = {**Choices(**deep).args(), "backbone_type": name, "neuron_select_type": select}
            tiny_ctm.write(tmp_path / "m.pt", args=args, **deep)
            ctm.load(tmp_path / "m.pt", Contents(tmp_path / "m.pt"), Settings())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": "3"}, ("3 heads", "8")),
        ({"heads": "0"}, ("0 heads",)),
        ({"iterations": "0"}, ("iterations is 0",)),
        ({"iterations": "many"}, ("iterations",)),
        ({"prediction_reshaper": "4,2"}, ("'4,2'", "6 outputs")),
        ({"prediction_reshaper": "4,-1"}, ("'4,-1'", "6 outputs")),
        ({"prediction_reshaper": "-1,-1"}, ("'-1,-1'",)),
        ({"prediction_reshaper": "6,1"}, ("'6,1'",)),
        ({"prediction_reshaper": "classes"}, ("'classes'",)),
        ({"prediction_reshaper": ""}, ("''",)),
        ({"prediction_reshaper": "0,6"}, ("'0,6'",)),
        ({"image_size": "0"}, ("image_size",)),
        ({"task": "chess"}, ("task",)),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, settings: dict[str, str], words: tuple[str, ...]) -> None:
    tiny_ctm.write(tmp_path / "m.pt")
    _refused(tmp_path / "m.pt", "ND205", *words, **settings)


@pytest.mark.parametrize("length", [0, -2])
def test_length_of_parity(tmp_path: Path, length: int) -> None:
    tiny_ctm.write(tmp_path / "m.pt", **PARITY)
    _refused(tmp_path / "m.pt", "ND205", "sequence_length", sequence_length=str(length))


@pytest.mark.parametrize(
    ("position", "size", "words"),
    [
        ("learnable-fourier", "1x12", "two columns"),
        ("multi-learnable-fourier", "12x1", "two rows"),
        ("custom-rotational", "8x12", "as many rows as columns"),
        ("custom-rotational-1d", "8x8", "a sequence"),
    ],
)
def test_positions_that_are_not_defined(tmp_path: Path, position: str, size: str, words: str) -> None:
    args = {**Choices(**RESNET, position=position).args(), "img_size": size}
    tiny_ctm.write(tmp_path / "m.pt", args=args, position=position, **RESNET)
    _refused(tmp_path / "m.pt", "ND205", position, words)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("thought_query.weight", "thoughts"),
        ("static_thought_encoder.0.weight", "thoughts"),
        ("backbone_digit.layers.0.weight", "QAMNIST"),
        ("operator_backbone.embedding.weight", "QAMNIST"),
        ("start_activated_trace", "sliding window"),
        ("synapses.4.weight", "two gated blocks"),
        ("backbone.vit.patch.weight", "not one of the public code's"),
        ("positional_embedding.table", "not one of the public code's"),
    ],
)
def test_other_machines_are_refused_by_operation(tmp_path: Path, tensor: str, words: str) -> None:
    made = Choices()
    state = tiny_ctm.state(made)
    state[tensor] = np.zeros((2, 2), dtype=np.float32)
    tiny_ctm.save(tmp_path / "m.pt", state, made.args())
    _refused(tmp_path / "m.pt", "ND201", tensor, words)


def test_reinforcement_learning_without_a_start_state(tmp_path: Path) -> None:
    """The public class drops start_activated_state and the output projector."""
    made = Choices(heads=0)
    state = tiny_ctm.state(made)
    state["start_activated_trace"] = state["start_trace"]
    for name in ("start_activated_state", "output_projector.0.weight", "output_projector.0.bias"):
        del state[name]
    tiny_ctm.save(tmp_path / "m.pt", state, made.args())
    _refused(tmp_path / "m.pt", "ND201", "sliding window")


DAMAGE: dict[str, tuple[dict[str, Any], Callable[[State], None], str, tuple[str, ...]]] = {
    "index too large": ({}, _with("out_neuron_indices_left", [0, 1, 2, 12]), "ND125", ("12", "0 to 11")),
    "index negative": ({}, _with("action_neuron_indices_right", [0, -1, 2, 3]), "ND125", ("-1",)),
    "index not whole": ({}, _with("out_neuron_indices_left", [0.5, 1, 2, 3]), "ND125", ("0.5",)),
    "no indices": ({}, _with("out_neuron_indices_left", np.zeros(0, np.int64)), "ND125", ("nothing",)),
    "indices missing": ({}, _without("out_neuron_indices_left"), "ND125", ("out_neuron_indices_left",)),
    "sides differ": ({}, _with("out_neuron_indices_left", [1, 2, 3]), "ND125", ("3 left", "4 right")),
    "too few decays": ({}, _resized("decay_params_out", slice(3)), "ND125", ("3 decays", "random-pairing")),
    "decay not finite": ({}, _with("decay_params_out", [0.0, np.nan, 0, 0]), "ND304", ("decay_params_out",)),
    "sides paired differently": ({}, _with("decay_params_out", np.zeros(10)), "ND125", ("decay_params_action",)),
    "weight missing": ({}, _without("q_proj.weight"), "ND125", ("q_proj.weight",)),
    "query of another size": ({}, _resized("q_proj.weight", slice(None), slice(3)), "ND125", ("q_proj.weight",)),
    "synapses of another size": ({}, _resized("synapses.1.weight", slice(None), slice(19)), "ND125", ("synapses.1",)),
    "nothing enters": ({"heads": 0}, _resized("synapses.1.weight", slice(None), slice(12)), "ND125", ("12 neurons",)),
    "trace of another length": ({}, _resized("trace_processor.0.0.w1", slice(3)), "ND125", ("must be 4x",)),
    "hidden units differ": ({}, _resized("trace_processor.0.2.w1", slice(2)), "ND125", ("6 outputs", "2 inputs")),
    "no temperature": ({}, _with("trace_processor.0.0.T", [0.0]), "ND125", ("trace_processor.0.0.T",)),
    "U-Net without a way down": (
        {"depth": 2, "neurons": 20},
        _without("synapses.down_projections.0.1.weight"),
        "ND125",
        ("down_projections.0",),
    ),
    "U-Net without a skip": ({"depth": 3, "neurons": 20}, _without("synapses.skip_lns.1.bias"), "ND125", ("skip_lns",)),
    "U-Net of other widths": (
        {"depth": 3, "neurons": 20},
        _resized("synapses.down_projections.0.1.weight", slice(17)),
        "ND125",
        ("must be 18x20",),
    ),
    "unknown tensor": ({}, _with("lstm.weight", [1.0]), "ND125", ("lstm.weight",)),
    "key or value missing": ({}, _resized("attention.in_proj_weight", slice(16)), "ND125", ("must be 24x8",)),
    "block without its way around": (
        {"backbone": "resnet18-2", "image": (8, 8)},
        _without("backbone.layer2.0.downsample.0.weight"),
        "ND125",
        ("backbone.layer2.0", "downsample"),
    ),
    "variance negative": (RESNET, _with("backbone.bn1.running_var", [-1.0] * 4), "ND125", ("running_var",)),
    "embedding of three numbers": (PARITY, _with("backbone.embedding.weight", np.zeros((3, 8))), "ND125", ("2x8",)),
    "groups odd in number": (
        {"backbone": "shallow-wide"},
        _with("backbone.layers.3.weight", np.zeros((32, 16, 3, 3))),
        "ND125",
        ("16 channels a group",),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_tensors_that_do_not_fit(tmp_path: Path, what: str) -> None:
    choices, change, code, words = DAMAGE[what]
    made = Choices(**choices)
    state = tiny_ctm.state(made)
    change(state)
    tiny_ctm.save(tmp_path / "m.pt", state, made.args())
    _refused(tmp_path / "m.pt", code, *words)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    made = Choices()
    state = tiny_ctm.state(made)
    del state["start_trace"]
    tiny_ctm.save(tmp_path / "m.pt", state, {})
    assert not ctm.detect(tmp_path / "m.pt", Contents(tmp_path / "m.pt"))
    (tmp_path / "text").write_text("start_trace")
    assert not ctm.detect(tmp_path / "text", Contents(tmp_path / "text"))


def test_a_damaged_sidecar(tmp_path: Path) -> None:
    tiny_ctm.write(tmp_path / "m.pt")
    (tmp_path / "m.json").write_text("[1]")
    _refused(tmp_path / "m.pt", "ND126", "m.json")
