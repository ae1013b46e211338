"""A Continuous Thought Machine in float64 from the paper's equations (arXiv 2505.05522), on a state dict.

Nothing of ndeploy is used: this is what converted networks, programs and runners are compared with. Names of tensors
are those of the public checkpoint; every quantity is kept for every tick.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Array = npt.NDArray[Any]
State = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Ticks:
    """Arrays (ticks, samples, ...): pre, post (D); synch_action, synch_out (S); attention (heads, tokens); logits
    (outputs); certainty (). synch_action and attention are None without attention. kv: (samples, tokens, E)."""

    pre: Array
    post: Array
    synch_out: Array
    logits: Array
    certainty: Array
    synch_action: Array | None = None
    attention: Array | None = None
    kv: Array | None = None

    @property
    def best(self) -> Array:
        """The tick of the answer, for each sample: the most certain one, the first of equals."""
        return np.argmax(self.certainty, axis=0)


def run(state: State, x: Array, *, iterations: int, heads: int = 0, reshaper: Sequence[int] = (-1,)) -> Ticks:
    """All ticks of samples x (samples, ...). reshaper: how outputs are read for the certainty, classes last."""
    w = {name: torch.from_numpy(np.asarray(value).copy()) for name, value in state.items()}
    w = {name: value.double() if value.is_floating_point() else value for name, value in w.items()}
    data = torch.from_numpy(np.asarray(x, dtype=np.float64).copy())
    kv = _tokens(w, data) if heads else None
    samples = len(data)
    z = w["start_activated_state"].expand(samples, -1)
    trace = w["start_trace"].expand(samples, -1, -1)
    out = _Synchronisation(w, "out")
    out(z)  # the start counts as the first product of the output's synchronisation
    action = _Synchronisation(w, "action") if heads else None
    kept: dict[str, list[Tensor]] = {name: [] for name in Ticks.__dataclass_fields__ if name != "kv"}
    for _ in range(iterations):
        entering = data
        if action is not None and kv is not None:
            synchrony = action(z)
            entering, weights = _attend(w, synchrony, kv, heads)
            kept["synch_action"].append(synchrony)
            kept["attention"].append(weights)
        pre = _synapses(w, torch.cat([entering, z], -1))
        trace = torch.cat([trace[..., 1:], pre[..., None]], -1)
        z = _neuron_models(w, trace)
        synchrony = out(z)
        logits = F.linear(synchrony, w["output_projector.0.weight"], w["output_projector.0.bias"])
        for name, value in (("pre", pre), ("post", z), ("synch_out", synchrony), ("logits", logits)):
            kept[name].append(value)
        kept["certainty"].append(certainty(logits, reshaper))
    arrays = {name: torch.stack(values).numpy() for name, values in kept.items() if values}
    return Ticks(**arrays, kv=None if kv is None else kv.numpy())


def certainty(logits: Tensor, reshaper: Sequence[int]) -> Tensor:
    """1 - entropy / log(classes), averaged over everything that is classified. logits: (samples, outputs)."""
    shaped = logits.reshape(len(logits), *reshaper)
    log = torch.log_softmax(shaped, -1)
    entropy = -(log.exp() * log).sum(-1) / math.log(shaped.shape[-1])
    return 1 - entropy.reshape(len(logits), -1).mean(-1)


class _Synchronisation:
    """alpha <- r alpha + z_i z_j, beta <- r beta + 1, alpha / sqrt(beta); both are 0 before the first product."""

    def __init__(self, w: Mapping[str, Tensor], side: str) -> None:
        parameters = w[f"decay_params_{side}"].clamp(0, 15)
        left, right = (w[f"{side}_neuron_indices_{end}"].long() for end in ("left", "right"))
        if len(parameters) != len(left):
            # all pairs of a left with a right neuron, row by row, from the diagonal on
            n = len(left)
            index = [(i, j) for i in range(n) for j in range(i, n)]
            left = torch.stack([left[i] for i, _ in index])
            right = torch.stack([right[j] for _, j in index])
        self.left, self.right, self.r = left, right, torch.exp(-parameters)
        self.alpha = self.beta = torch.zeros(())

    def __call__(self, z: Tensor) -> Tensor:
        self.alpha = self.r * self.alpha + z[:, self.left] * z[:, self.right]
        self.beta = self.r * self.beta + 1
        return self.alpha / torch.sqrt(self.beta)


def _attend(w: Mapping[str, Tensor], synchrony: Tensor, kv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Multi-head attention of one query (samples, S) over kv (samples, tokens, E); (output, weights)."""
    q = F.linear(synchrony, w["q_proj.weight"], w["q_proj.bias"])
    matrices, biases = w["attention.in_proj_weight"].chunk(3), w["attention.in_proj_bias"].chunk(3)
    q, k, v = (F.linear(a, m, b) for a, m, b in zip((q, kv, kv), matrices, biases, strict=True))
    samples, tokens, width = kv.shape
    depth = width // heads
    q = q.reshape(samples, heads, depth)
    k, v = (a.reshape(samples, tokens, heads, depth).transpose(1, 2) for a in (k, v))
    weights = torch.softmax((k @ q[..., None])[..., 0] / math.sqrt(depth), -1)
    context = (weights[..., None] * v).sum(2).reshape(samples, width)
    return F.linear(context, w["attention.out_proj.weight"], w["attention.out_proj.bias"]), weights


def _linear(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _glu(x: Tensor, axis: int = -1) -> Tensor:
    value, gate = x.chunk(2, axis)
    return value * torch.sigmoid(gate)


def _synapses(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    if "synapses.1.weight" in w:
        return _norm(w, "synapses.3", _glu(_linear(w, "synapses.1", x)))

    def block(name: str, first: int, x: Tensor) -> Tensor:
        x = _norm(w, f"synapses.{name}.{first + 1}", _linear(w, f"synapses.{name}.{first}", x))
        return x * torch.sigmoid(x)

    levels = [block("first_projection", 0, x)]
    while f"synapses.down_projections.{len(levels) - 1}.1.weight" in w:
        levels.append(block(f"down_projections.{len(levels) - 1}", 1, levels[-1]))
    up = levels.pop()
    for i in reversed(range(len(levels))):
        up = _norm(w, f"synapses.skip_lns.{i}", block(f"up_projections.{i}", 1, up) + levels[i])
    return up


def _neuron_models(w: Mapping[str, Tensor], trace: Tensor) -> Tensor:
    """Each neuron's model of its own history: (samples, D, M) to (samples, D)."""
    x = trace
    for layer in (0, 2):
        name = f"trace_processor.0.{layer}"
        if f"{name}.w1" not in w:
            continue
        if f"{name}.layernorm.weight" in w:
            x = _norm(w, f"{name}.layernorm", x)
        # w1: (inputs, outputs, D)
        x = (x.transpose(1, 2)[:, :, None] * w[f"{name}.w1"]).sum(1).transpose(1, 2) + w[f"{name}.b1"]
        x = _glu(x / w[f"{name}.T"])
    return x[..., 0]


# -- what attention looks at -------------------------------------------------------------------------------------------


def _tokens(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """kv (samples, tokens, E): features and positions, projected and normalised."""
    features = _features(w, x)
    features = features + _positions(w, features.shape[1], features.shape[2:])
    return _norm(w, "kv_proj.1", _linear(w, "kv_proj.0", features.flatten(2).transpose(1, 2)))


def _features(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    if "backbone.embedding.weight" in w:
        return w["backbone.embedding.weight"][(x == 1).long()].transpose(1, 2)
    if "initial_rgb.weight" in w:
        x = F.conv2d(x, w["initial_rgb.weight"], w["initial_rgb.bias"])
        x = torch.relu(_batch_norm(w, "backbone.bn1", F.conv2d(x, w["backbone.conv1.weight"], padding=1)))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            block = 0
            while f"backbone.layer{stage}.{block}.conv1.weight" in w:
                x = _residual(w, f"backbone.layer{stage}.{block}", x, 2 if stage > 1 and block == 0 else 1)
                block += 1
        return x
    if "backbone.layers.0.weight" in w:
        name = "backbone.layers"
        x = _glu(F.conv2d(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], 2, 1), 1)
        x = _batch_norm(w, f"{name}.2", x)
        groups = x.shape[1] // w[f"{name}.3.weight"].shape[1]
        x = _glu(F.conv2d(x, w[f"{name}.3.weight"], w[f"{name}.3.bias"], 1, 1, groups=groups), 1)
        return _batch_norm(w, f"{name}.5", x)
    return x


def _batch_norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    values = (w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values)


def _residual(w: Mapping[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    deep = f"{name}.conv3.weight" in w
    y = x
    for i in (1, 2, 3) if deep else (1, 2):
        weight = w[f"{name}.conv{i}.weight"]
        step = stride if i == (2 if deep else 1) else 1
        y = torch.relu(y) if i > 1 else y
        y = _batch_norm(w, f"{name}.bn{i}", F.conv2d(y, weight, stride=step, padding=weight.shape[-1] // 2))
    if f"{name}.downsample.0.weight" in w:
        x = _batch_norm(w, f"{name}.downsample.1", F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride))
    return torch.relu(x + y)


def _positions(w: Mapping[str, Tensor], channels: int, shape: Sequence[int]) -> Tensor:
    root = "positional_embedding"
    if f"{root}.combination" in w:
        shares = torch.softmax(w[f"{root}.combination"], -1)
        return sum(
            (s * _fourier(w, f"{root}.embedders.{i}", shape) for i, s in enumerate(shares)), torch.zeros(()).double()
        )
    if f"{root}.Wr.weight" in w:
        return _fourier(w, root, shape)
    if f"{root}.start_vector" in w:
        rotated = _rotated(shape[1]) @ w[f"{root}.start_vector"]  # (W, 2)
        size = len(rotated)
        key = torch.cat([rotated[:, None].expand(-1, size, -1), rotated[None].expand(size, -1, -1)], -1)
        return _linear(w, f"{root}.projection.0", key).permute(2, 0, 1)
    if f"{root}.projection.weight" in w:
        return _linear(w, f"{root}.projection", _rotated(shape[0]) @ torch.tensor([0.0, 1.0]).double()).T
    return torch.zeros(channels, *shape).double()


def _rotated(size: int) -> Tensor:
    """(size, 2, 2): rotation by 0 to 180 degrees."""
    angle = torch.linspace(0, math.pi, size, dtype=torch.float64)
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], 1)


def _fourier(w: Mapping[str, Tensor], name: str, shape: Sequence[int]) -> Tensor:
    height, width = shape
    columns, rows = (torch.arange(n, dtype=torch.float64) / (n - 1) for n in (width, height))
    at = torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], -1)
    angle = at @ w[f"{name}.Wr.weight"].T
    features = torch.cat([torch.cos(angle), torch.sin(angle)], -1) / math.sqrt(2 * angle.shape[-1])
    out = _norm(w, f"{name}.mlp.3", _linear(w, f"{name}.mlp.2", _glu(_linear(w, f"{name}.mlp.0", features))))
    return out.permute(2, 0, 1)
