"""Spikformers in plain torch with the public repository's key names, small and random; written from the paper."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def lif(x: Tensor, threshold: float = 1.0, tau: float = 2.0) -> Tensor:
    """SpikingJelly's multi-step LIF over the first axis: decayed input, spike on >=, reset to zero."""
    v = torch.zeros_like(x[0])
    spikes = []
    for step in x:
        v = v + (step - v) / tau
        spike = (v >= threshold).to(x.dtype)
        v = v * (1 - spike)
        spikes.append(spike)
    return torch.stack(spikes)


def each(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer applied to (T, B, ...) step by step."""
    return torch.stack([layer(step) for step in x])


class Projection(nn.Module):
    """q, k, v, proj, fc1, fc2: a linear map over channels of (T, B, C, N), then batch norm and a LIF."""

    def __init__(self, style: str, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.style = style
        if style == "linear":
            self.map: nn.Module = nn.Linear(inputs, outputs)
        else:
            kind = nn.Conv1d if style == "conv1d" else nn.Conv2d
            self.map = kind(inputs, outputs, 1, bias=bias)
        self.norm: nn.Module = (nn.BatchNorm2d if style == "conv2d" else nn.BatchNorm1d)(outputs)

    def forward(self, x: Tensor) -> Tensor:
        def once(step: Tensor) -> Tensor:
            if self.style == "linear":
                return self.norm(self.map(step.transpose(1, 2)).transpose(1, 2))
            if self.style == "conv2d":
                return self.norm(self.map(step[..., None]))[..., 0]
            return self.norm(self.map(step))

        return lif(torch.stack([once(step) for step in x]))


class TinySpikformer(nn.Module):
    """style: "linear" (cifar10), "conv1d" (cifar10-dvs) or "conv2d" (imagenet); pooling: a digit a stem stage."""

    def __init__(
        self,
        *,
        style: str = "linear",
        pooling: str = "0011",
        channels: int = 2,
        widths: Sequence[int] = (2, 3, 4, 8),
        heads: int = 2,
        depth: int = 2,
        ratio: int = 2,
        classes: int = 5,
        scale: float = 0.125,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pooling, self.heads, self.scale, self.style = pooling, heads, scale, style
        ends = [channels, *widths]
        self.stem = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(ends))
        self.stem_norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths)
        dim = widths[-1]
        self.rpe, self.rpe_norm = nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim)
        attention = "conv1d" if style == "conv2d" else style
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    **{n: Projection(attention, dim, dim, n == "proj") for n in ("q", "k", "v", "proj")},
                    "fc1": Projection(style, dim, dim * ratio, True),
                    "fc2": Projection(style, dim * ratio, dim, True),
                }
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(dim, classes)
        generator = torch.Generator().manual_seed(seed)
        for name, value in [*self.named_parameters(), *self.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                continue
            random = torch.randn(value.shape, generator=generator)
            with torch.no_grad():
                # norms that lift the sparse sums above the threshold, so that a good part of the neurons fires
                if name.endswith("running_var"):
                    value.copy_(random.abs() * 0.1 + 0.1)
                elif value.ndim > 1:
                    value.copy_(random * 1.5 / value[0].numel() ** 0.5)
                else:
                    lift = 0.8 if "norm" in name and not name.endswith("running_mean") else 0.0
                    value.copy_(random * 0.3 + lift)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of x (T, B, C, H, W)."""
        with torch.no_grad():
            for conv, norm, pooled in zip(self.stem, self.stem_norms, self.pooling, strict=True):
                x = lif(each(nn.Sequential(conv, norm), x))
                if pooled == "1":
                    x = each(nn.MaxPool2d(3, 2, 1), x)
            x = x + lif(each(nn.Sequential(self.rpe, self.rpe_norm), x))
            x = x.flatten(-2)
            for block in self.blocks:
                x = x + self.attend(block, x)
                x = x + block["fc2"](block["fc1"](x))
            return self.head(x.mean(-1).mean(0))

    def attend(self, block: nn.ModuleDict, x: Tensor) -> Tensor:
        t, b, c, n = x.shape
        q, k, v = (block[name](x).transpose(-1, -2).reshape(t, b, n, self.heads, -1).transpose(2, 3) for name in "qkv")
        y = (q @ k.transpose(-2, -1)) @ v * self.scale
        return block["proj"](lif(y.transpose(3, 4).reshape(t, b, c, n), 0.5))

    def public_state(self) -> dict[str, Tensor]:
        """The weights under the public repository's names, dead layer norms included."""
        state: dict[str, Tensor] = {}

        def put(name: str, layer: nn.Module) -> None:
            state.update({f"{name}.{key}": value.float() for key, value in layer.state_dict().items()})

        for i, (conv, norm) in enumerate(zip(self.stem, self.stem_norms, strict=True)):
            put(f"patch_embed.proj_conv{i or ''}", conv)
            put(f"patch_embed.proj_bn{i or ''}", norm)
        put("patch_embed.rpe_conv", self.rpe)
        put("patch_embed.rpe_bn", self.rpe_norm)
        kind = "linear" if self.style == "linear" else "conv"
        for i, block in enumerate(self.blocks):
            put(f"block.{i}.norm1", nn.LayerNorm(4))
            for name in ("q", "k", "v", "proj", "fc1", "fc2"):
                part = f"block.{i}.{'mlp' if name.startswith('fc') else 'attn'}.{name}"
                put(f"{part}_{kind}", block[name].map)
                put(f"{part}_bn", block[name].norm)
        put("head", self.head)
        return state

    def round_to_float32(self) -> TinySpikformer:
        """The model with the float32 values its saved state has, computing in float64."""
        return self.float().double()
