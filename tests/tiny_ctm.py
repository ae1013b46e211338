"""Random small Continuous Thought Machines in the public checkpoint format, over every architectural choice.

Weights are drawn so that signals neither vanish nor blow up: a machine whose outputs do not tell samples apart would
prove nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]
State = dict[str, Array]

POSITIONS = ("none", "learnable-fourier", "multi-learnable-fourier", "custom-rotational", "custom-rotational-1d")
SELECTIONS = ("random", "random-pairing", "first-last")
BACKBONES = ("none", "parity_backbone", "resnet18-1", "resnet18-2", "resnet50-2", "shallow-wide")


@dataclass(frozen=True)
class Choices:
    """heads 0: a machine for sorting, without attention. depth 1: MLP synapses, more: a U-Net of that many widths.

    hidden 0: shallow neuron-level models. image: of the images; length: of parity sequences, or numbers to sort.
    backbone_width: channels of the first ResNet stage, or 2048 / 64 of shallow-wide's; reshaper: classes last.
    """

    neurons: int = 12
    memory: int = 4
    iterations: int = 5
    width: int = 8
    heads: int = 2
    depth: int = 1
    hidden: int = 3
    normed: bool = False
    select: str = "random-pairing"
    n_out: int = 4
    n_action: int = 4
    backbone: str = "none"
    position: str = "none"
    image: tuple[int, int] = (4, 4)
    channels: int = 2
    length: int = 5
    backbone_width: int = 4
    reshaper: tuple[int, ...] = (-1,)
    outputs: int = 6

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        if not self.heads or self.backbone == "parity_backbone":
            return (self.length,)
        return (self.channels, *self.image)

    def args(self) -> dict[str, Any]:
        """As the public training scripts name them; prediction_reshaper, which they leave out, included."""
        attends = bool(self.heads)
        found: dict[str, Any] = {
            "model_type": "ctm",
            "iterations": self.iterations,
            "d_model": self.neurons,
            "d_input": self.width,
            "heads": self.heads,
            "n_synch_out": self.n_out,
            "n_synch_action": self.n_action,
            "synapse_depth": self.depth,
            "memory_length": self.memory,
            "deep_memory": bool(self.hidden),
            "memory_hidden_dims": self.hidden or 4,
            "do_normalisation": self.normed,
            "neuron_select_type": self.select,
            "backbone_type": self.backbone if attends else "none",
            "positional_embedding_type": self.position if attends else "none",
            "out_dims": self.outputs,
            "prediction_reshaper": list(self.reshaper),
        }
        if self.backbone == "parity_backbone":
            found["parity_sequence_length"] = self.length
        elif attends:
            found["img_size"] = f"{self.image[0]}x{self.image[1]}"
        return found


def write(path: Path, seed: int = 0, args: dict[str, Any] | None = None, **choices: Any) -> Choices:
    """Write a checkpoint {"model_state_dict", "args", ...} of a random machine and return what it was made of.

    choices: fields of `Choices`. args: instead of those that fit; {} leaves them out (a bare state dict). The format
    follows the suffix: .safetensors and .npz hold the tensors alone.
    """
    made = dataclasses.replace(Choices(), **choices)
    save(path, state(made, seed), made.args() if args is None else args)
    return made


def save(path: Path, tensors: State, args: dict[str, Any]) -> None:
    """Write tensors in the format of the suffix."""
    if path.suffix == ".npz":
        np.savez(path, **tensors)
        return
    converted = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(converted, path)
    elif not args:
        torch.save(converted, path)
    else:
        torch.save(
            {"model_state_dict": converted, "args": argparse.Namespace(**args), "iteration": 7, "iters": [1, 7]}, path
        )


def state(choices: Choices, seed: int = 0) -> State:
    """The tensors, float32 and int64, under the public names."""
    return _Draw(choices, np.random.default_rng(seed)).all()


def samples(choices: Choices, count: int, seed: int = 0) -> Array:
    """Inputs as the task has them: -1 and +1 for parity, normal values else."""
    x = np.random.default_rng(seed).normal(size=(count, *choices.input_shape))
    return np.where(x > 0, 1.0, -1.0) if choices.heads and choices.backbone == "parity_backbone" else x


class _Draw:
    def __init__(self, choices: Choices, rng: np.random.Generator) -> None:
        self.c, self.rng = choices, rng
        self.w: State = {}

    def all(self) -> State:
        c = self.c
        self.put("start_activated_state", (c.neurons,), 0.5)
        self.put("start_trace", (c.neurons, c.memory), 0.5)
        self.pairs("out", c.n_out)
        if c.heads:
            self.pairs("action", c.n_action)
            features = self.backbone()
            self.position(features)
            self.linear("kv_proj.0", features, c.width)
            self.norm("kv_proj.1", c.width)
            self.linear("q_proj", self.w["decay_params_action"].size, c.width)
            self.put("attention.in_proj_weight", (3 * c.width, c.width), 1.5 / math.sqrt(c.width))
            self.put("attention.in_proj_bias", (3 * c.width,), 0.2)
            self.linear("attention.out_proj", c.width, c.width, 4.0)
        self.synapses(c.neurons + (c.width if c.heads else c.length))
        for layer, inputs, outputs in self.models():
            name = f"trace_processor.0.{layer}"
            self.put(f"{name}.w1", (inputs, 2 * outputs, c.neurons), 1.5 / math.sqrt(inputs))
            self.put(f"{name}.b1", (1, c.neurons, 2 * outputs), 0.3)
            self.w[f"{name}.T"] = self.rng.uniform(0.6, 1.6, 1).astype(np.float32)
            if c.normed:
                self.norm(f"{name}.layernorm", inputs)
        self.linear("output_projector.0", self.w["decay_params_out"].size, c.outputs, 2.0)
        return self.w

    def models(self) -> list[tuple[int, int, int]]:
        c = self.c
        return [(0, c.memory, c.hidden), (2, c.hidden, 1)] if c.hidden else [(0, c.memory, 1)]

    def put(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> None:
        self.w[name] = (self.rng.normal(size=shape) * scale).astype(np.float32)

    def linear(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        self.put(f"{name}.weight", (outputs, inputs), gain / math.sqrt(inputs))
        self.put(f"{name}.bias", (outputs,), 0.2)

    def norm(self, name: str, size: int) -> None:
        self.w[f"{name}.weight"] = self.rng.uniform(0.6, 1.4, size).astype(np.float32)
        self.put(f"{name}.bias", (size,), 0.2)

    def batch_norm(self, name: str, size: int) -> None:
        self.norm(name, size)
        self.put(f"{name}.running_mean", (size,), 0.2)
        self.w[f"{name}.running_var"] = self.rng.uniform(0.6, 1.4, size).astype(np.float32)
        self.w[f"{name}.num_batches_tracked"] = np.array(3, dtype=np.int64)

    def pairs(self, side: str, count: int) -> None:
        c = self.c
        dense = c.select != "random-pairing"
        # trained decays lie around 0, many of them below, which counts as 0
        self.put(f"decay_params_{side}", (count * (count + 1) // 2 if dense else count,), 0.5)
        for end in ("left", "right"):
            chosen = self.rng.integers(0, c.neurons, count)
            if c.select == "first-last":
                chosen = np.arange(count) + (0 if side == "out" else c.neurons - count)
            self.w[f"{side}_neuron_indices_{end}"] = chosen.astype(np.int64)

    def synapses(self, inputs: int) -> None:
        c = self.c
        if c.depth == 1:
            self.linear("synapses.1", inputs, 2 * c.neurons)
            self.norm("synapses.3", c.neurons)
            return
        widths = [int(v) for v in np.linspace(c.neurons, 16, c.depth)]
        self.linear("synapses.first_projection.0", inputs, widths[0])
        self.norm("synapses.first_projection.1", widths[0])
        for i in range(c.depth - 1):
            for way, a, b in (("down", widths[i], widths[i + 1]), ("up", widths[i + 1], widths[i])):
                self.linear(f"synapses.{way}_projections.{i}.1", a, b)
                self.norm(f"synapses.{way}_projections.{i}.2", b)
            self.norm(f"synapses.skip_lns.{i}", widths[i])

    def conv(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.put(f"{name}.weight", (outputs, inputs, kernel, kernel), 1.4 / math.sqrt(inputs * kernel * kernel))

    def backbone(self) -> int:
        """Channels of the features."""
        c = self.c
        if c.backbone == "none":
            return c.channels
        if c.backbone == "parity_backbone":
            self.put("backbone.embedding.weight", (2, c.width))
            return c.width
        if c.backbone == "shallow-wide":
            return self.shallow_wide()
        name, stages = c.backbone.split("-")
        blocks = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}[name]
        deep = name == "resnet50"
        self.conv("initial_rgb", c.channels, 3, 1)
        self.put("initial_rgb.bias", (3,), 0.5)
        self.conv("backbone.conv1", 3, c.backbone_width, 3)
        self.batch_norm("backbone.bn1", c.backbone_width)
        channels = c.backbone_width
        for stage in range(1, int(stages) + 1):
            inner = c.backbone_width * 2 ** (stage - 1)
            for i in range(blocks[stage - 1]):
                channels = self.block(f"backbone.layer{stage}.{i}", channels, inner, deep, stage > 1 and i == 0)
        return channels

    def block(self, name: str, inputs: int, inner: int, deep: bool, strided: bool) -> int:
        outputs = 4 * inner if deep else inner
        sizes = [(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)] if deep else []
        for i, (a, b, kernel) in enumerate(sizes or [(inputs, inner, 3), (inner, inner, 3)], 1):
            self.conv(f"{name}.conv{i}", a, b, kernel)
            self.batch_norm(f"{name}.bn{i}", b)
        if strided or inputs != outputs:
            self.conv(f"{name}.downsample.0", inputs, outputs, 1)
            self.batch_norm(f"{name}.downsample.1", outputs)
        return outputs

    def shallow_wide(self) -> int:
        c = self.c
        width, groups = 4 * c.backbone_width, 4
        self.conv("backbone.layers.0", c.channels, 2 * width, 3)
        self.put("backbone.layers.0.bias", (2 * width,), 0.2)
        self.batch_norm("backbone.layers.2", width)
        self.conv("backbone.layers.3", width // groups, 2 * width, 3)
        self.put("backbone.layers.3.bias", (2 * width,), 0.2)
        self.batch_norm("backbone.layers.5", width)
        return width

    def position(self, channels: int) -> None:
        root, kind = "positional_embedding", self.c.position
        if kind == "custom-rotational-1d":
            self.linear(f"{root}.projection", 2, channels)
        elif kind == "custom-rotational":
            self.put(f"{root}.start_vector", (2,))
            self.linear(f"{root}.projection.0", 4, channels)
        elif kind == "learnable-fourier":
            self.fourier(root, channels)
        elif kind == "multi-learnable-fourier":
            for i in range(3):
                self.fourier(f"{root}.embedders.{i}", channels)
            self.put(f"{root}.combination", (3,))

    def fourier(self, name: str, channels: int) -> None:
        self.put(f"{name}.Wr.weight", (6, 2), 2.0)
        self.linear(f"{name}.mlp.0", 12, 8)
        self.linear(f"{name}.mlp.2", 4, channels)
        self.norm(f"{name}.mlp.3", channels)
