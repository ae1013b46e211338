"""The Continuous Thought Machine in float32 PyTorch, eager: the public model's forward pass over a state dict.

Written the plainest way with nn.functional, as the public code does it: the attention projects keys and values anew in
every tick (nn.MultiheadAttention), the neuron-level models are one einsum each, nothing is folded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class FloatCtm(nn.Module):
    """x (B, ...) to logits (B, outputs, ticks) and certainties (B, 2, ticks)."""

    def __init__(self, state: Mapping[str, Tensor], ticks: int, heads: int, reshaper: tuple[int, ...]) -> None:
        super().__init__()
        self.state = {k: v if not v.is_floating_point() else v.float() for k, v in state.items()}
        self.ticks, self.heads, self.reshaper = ticks, heads, reshaper
        for side in ("action", "out"):
            if f"decay_params_{side}" in self.state:
                self._pairs(side)

    def _pairs(self, side: str) -> None:
        s = self.state
        left, right = (s[f"{side}_neuron_indices_{end}"].long() for end in ("left", "right"))
        if len(s[f"decay_params_{side}"]) != len(left):
            i, j = torch.triu_indices(len(left), len(left))
            left, right = left[i], right[j]
        s[f"{side}.left"], s[f"{side}.right"] = left, right

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = self.state
        batch = len(x)
        kv = self._tokens(x) if self.heads else None
        trace = s["start_trace"].unsqueeze(0).expand(batch, -1, -1)
        z = s["start_activated_state"].unsqueeze(0).expand(batch, -1)
        decays = {side: torch.exp(-s[f"decay_params_{side}"].clamp(0, 15)).unsqueeze(0).repeat(batch, 1)
                  for side in ("action", "out") if f"decay_params_{side}" in s}  # fmt: skip
        alpha: dict[str, Any] = {"action": None, "out": None}
        beta: dict[str, Any] = {"action": None, "out": None}
        self._synchronise(z, alpha, beta, decays, "out")
        logits, certainties = [], []
        for _ in range(self.ticks):
            entering = x
            if kv is not None:
                sync = self._synchronise(z, alpha, beta, decays, "action")
                q = F.linear(sync, s["q_proj.weight"], s["q_proj.bias"]).unsqueeze(1)
                entering = self._attend(q, kv).squeeze(1)
            pre = self._synapses(torch.concatenate((entering, z), dim=-1))
            trace = torch.cat((trace[:, :, 1:], pre.unsqueeze(-1)), dim=-1)
            z = self._neurons(trace)
            sync = self._synchronise(z, alpha, beta, decays, "out")
            y = F.linear(sync, s["output_projector.0.weight"], s["output_projector.0.bias"])
            logits.append(y)
            certainties.append(self._certainty(y))
        return torch.stack(logits, dim=-1), torch.stack(certainties, dim=-1)

    def _synchronise(self, z: Tensor, alpha: Any, beta: Any, decays: Mapping[str, Tensor], side: str) -> Tensor:
        s = self.state
        product = z[:, s[f"{side}.left"]] * z[:, s[f"{side}.right"]]
        if alpha[side] is None:
            alpha[side], beta[side] = product, torch.ones_like(product)
        else:
            alpha[side] = decays[side] * alpha[side] + product
            beta[side] = decays[side] * beta[side] + 1
        return alpha[side] / torch.sqrt(beta[side])

    def _attend(self, q: Tensor, kv: Tensor) -> Tensor:
        s = self.state
        q, kv = q.transpose(0, 1), kv.transpose(0, 1)
        found, _ = F.multi_head_attention_forward(
            q, kv, kv, kv.shape[-1], self.heads, s["attention.in_proj_weight"], s["attention.in_proj_bias"], None, None,
            False, 0.0, s["attention.out_proj.weight"], s["attention.out_proj.bias"], training=False,
            need_weights=True, average_attn_weights=False,
        )  # fmt: skip
        return found.transpose(0, 1)

    def _synapses(self, x: Tensor) -> Tensor:
        y = F.glu(F.linear(x, self.state["synapses.1.weight"], self.state["synapses.1.bias"]))
        return F.layer_norm(y, y.shape[-1:], self.state["synapses.3.weight"], self.state["synapses.3.bias"])

    def _neurons(self, trace: Tensor) -> Tensor:
        x = trace
        for name in ("trace_processor.0.0", "trace_processor.0.2"):
            if f"{name}.w1" in self.state:
                x = torch.einsum("BDM,MHD->BDH", x, self.state[f"{name}.w1"]) + self.state[f"{name}.b1"]
                x = F.glu(x / self.state[f"{name}.T"])
        return x.squeeze(-1)

    def _certainty(self, y: Tensor) -> Tensor:
        shaped = y.reshape(len(y), *self.reshaper)
        entropy = -(torch.softmax(shaped, -1) * torch.log_softmax(shaped, -1)).sum(-1) / math.log(shaped.shape[-1])
        entropy = entropy.reshape(len(y), -1).mean(-1)
        return torch.stack((entropy, 1 - entropy), -1)

    def _tokens(self, x: Tensor) -> Tensor:
        s = self.state
        if "backbone.embedding.weight" in s:
            features = s["backbone.embedding.weight"][(x == 1).long()].transpose(1, 2)
            angle = torch.linspace(0, math.pi, int(x.shape[1]), dtype=torch.float32)
            rotated = torch.stack((-torch.sin(angle), torch.cos(angle)), -1)
            place = F.linear(
                rotated, s["positional_embedding.projection.weight"], s["positional_embedding.projection.bias"]
            )
            features = features + place.T
        else:
            features = self._resnet(x).flatten(2)
        y = F.linear(features.transpose(1, 2), s["kv_proj.0.weight"], s["kv_proj.0.bias"])
        return F.layer_norm(y, y.shape[-1:], s["kv_proj.1.weight"], s["kv_proj.1.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        s = self.state
        mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"])

    def _resnet(self, x: Tensor) -> Tensor:
        """ResNet18 of one stage, with the public code's first layers."""
        s = self.state
        x = F.conv2d(x, s["initial_rgb.weight"], s["initial_rgb.bias"])
        x = F.relu(self._norm("backbone.bn1", F.conv2d(x, s["backbone.conv1.weight"], padding=1)))
        x = F.max_pool2d(x, 3, 2, 1)
        for block in ("backbone.layer1.0", "backbone.layer1.1"):
            y = F.relu(self._norm(f"{block}.bn1", F.conv2d(x, s[f"{block}.conv1.weight"], padding=1)))
            y = self._norm(f"{block}.bn2", F.conv2d(y, s[f"{block}.conv2.weight"], padding=1))
            x = F.relu(x + y)
        return x
