"""A Spikformer checkpoint: our simulator on the compiled program against the float model in plain PyTorch, eager.

The float model is written here from the paper (Zhou et al. 2023) and the checkpoint's key names, for the cifar10 style
of the public repository (linear maps over tokens); it runs under inference_mode, all steps of a layer in one call.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ndeploy import sim
from ndeploy.decode import encode
from ndeploy.pipeline import CompileOptions, compile_model

Timer = Callable[[Callable[[], object]], float]
BATCHES = (1, 64)
TAU = 2.0


def _lif(x: Tensor, threshold: float = 1.0) -> Tensor:
    """x (T, ...): decayed input, spike on >=, hard reset."""
    v = torch.zeros_like(x[0])
    spikes = torch.empty_like(x)
    for t, step in enumerate(x):
        v = v + (step - v) / TAU
        spike = (v >= threshold).float()
        v = v * (1 - spike)
        spikes[t] = spike
    return spikes


class FloatSpikformer:
    """(B, C, H, W) images to (B, classes), from a state dict."""

    def __init__(self, state: dict[str, Tensor], steps: int, heads: int) -> None:
        self.state = state
        self.steps = steps
        self.heads = heads
        self.depth = len({k.split(".")[1] for k in state if k.startswith("block.")})

    def _norm(self, x: Tensor, name: str) -> Tensor:
        s = self.state
        mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"])

    def _stage(self, x: Tensor, name: str, norm: str) -> Tensor:
        """(T, B, C, H, W): convolution, batch norm, LIF."""
        y = self._norm(F.conv2d(x.flatten(0, 1), self.state[f"{name}.weight"], padding=1), norm)
        return _lif(y.unflatten(0, x.shape[:2]))

    def _map(self, x: Tensor, name: str) -> Tensor:
        """(T, B, N, C): linear, batch norm over channels, LIF."""
        y = F.linear(x, self.state[f"{name}_linear.weight"], self.state[f"{name}_linear.bias"])
        z = self._norm(y.flatten(0, 1).transpose(1, 2), f"{name}_bn").transpose(1, 2)
        return _lif(z.reshape(y.shape))

    def __call__(self, images: Tensor) -> Tensor:
        x = images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        for i, suffix in enumerate(("", "1", "2", "3")):
            x = self._stage(x, f"patch_embed.proj_conv{suffix}", f"patch_embed.proj_bn{suffix}")
            if i >= 2:
                x = F.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])
        x = x + self._stage(x, "patch_embed.rpe_conv", "patch_embed.rpe_bn")
        x = x.flatten(-2).transpose(-1, -2)
        for i in range(self.depth):
            x = x + self._attention(x, f"block.{i}.attn")
            x = x + self._map(self._map(x, f"block.{i}.mlp.fc1"), f"block.{i}.mlp.fc2")
        return F.linear(x.mean(dim=(0, 2)), self.state["head.weight"], self.state["head.bias"])

    def _attention(self, x: Tensor, name: str) -> Tensor:
        q, k, v = (
            self._map(x, f"{name}.{part}").unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in ("q", "k", "v")
        )
        y = (q @ k.transpose(-1, -2)) @ v * 0.125
        return self._map(_lif(y.transpose(2, 3).flatten(-2), 0.5), f"{name}.proj")


def against_pytorch(checkpoint: Path, data: Path, timer: Timer) -> dict[str, Any]:
    """ms a sample of both at batch 1 and 64, and how often their predictions agree on 64 samples."""
    calibration = data.with_name("calibration.npz")
    program = compile_model(checkpoint, CompileOptions(calibration=calibration)).program
    with torch.serialization.safe_globals([argparse.Namespace]):
        loaded = torch.load(checkpoint, weights_only=True)
    model = FloatSpikformer(loaded["state_dict"], loaded["args"].T, loaded["args"].num_heads)
    with np.load(data) as npz:
        x, scale = npz["x"][: BATCHES[-1]], float(npz["x_scale"])
    row: dict[str, Any] = {"ms": {}}
    with torch.inference_mode():
        for batch in BATCHES:
            messages = encode(program, x[:batch], scale)
            images = torch.from_numpy(x[:batch]).float() * scale
            mine = timer(lambda m=messages: sim.run(program, m, threads=1, kernels="compiled"))  # type: ignore[misc]
            theirs = timer(lambda i=images: model(i))  # type: ignore[misc]
            row["ms"][f"ndeploy batch {batch}"] = mine / batch * 1e3
            row["ms"][f"PyTorch batch {batch}"] = theirs / batch * 1e3
        predictions = sim.run(program, messages, threads=1).predictions
        row["agreement"] = float((predictions == model(images).argmax(dim=1).numpy()).mean())
    return row
