"""Spikformer (ZK-Zhou/spikformer, arXiv 2209.15425): every variant of the public repository, told by its keys.

    x -> 4 x [conv 3x3, batch norm, LIF, sometimes max pool] -> + LIF(rpe conv) -> tokens
    block: x + proj(LIF_0.5(scale * q (k^T v)));  x + mlp(x)                  spikes are added: integers (SEW)
    head:  linear(mean over tokens and model steps)

| variant      | keys                         | max pools | scale |
| cifar10      | attn.q_linear                | 3, 4      | 0.125 |
| imagenet     | attn.q_conv, 2-d mlp.fc1_conv | 1 to 4    | 0.125 |
| cifar10-dvs  | attn.q_conv, 1-d mlp.fc1_conv | 1 to 4    | 0.25  |
| repository root | patch_embed.block1_conv   | 3, 4      | 0.125 |

Shapes come from the weights; what weights do not say (steps, heads, image size) from args, sidecar or --set; neuron
constants are those of the public model classes unless --set says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndeploy import checkpoint
from ndeploy.contents import Contents
from ndeploy.errors import UsageError
from ndeploy.ir import network as net
from ndeploy.settings import Settings

from ._options import Options, image_size, read_sidecar
from ._spiking_graph import DT, Graph, Lif
from ._weights import FloatArray, Weights, folded

NAME = "spikformer"
FAMILY = "Spikformer"

DEAD = (
    r"block\.\d+\.norm[12]\.(weight|bias)",  # layer norms that forward() never calls
    r"norm\.(weight|bias)",
    r"pos_embed",
    r".*\.num_batches_tracked",
)


@dataclass(frozen=True)
class Variant:
    """A model class of the public repository. stages: (convolution, batch norm, neuron, max pool) of the stem."""

    name: str
    projection: str
    stages: tuple[tuple[str, str, str, str], ...]
    pooling: str
    scale: float


def detect(path: Path, contents: Contents) -> bool:
    """Whether the file holds a Spikformer: its stem, q/k/v and MLP keys, and none of its relatives' keys."""
    if contents.kind not in ("zip-checkpoint", "pickle", "safetensors", "npz"):
        return False
    keys = set(contents.keys())
    stem = {"patch_embed.rpe_conv.weight", "head.weight"} <= keys
    attention = any(
        f"block.0.attn.q_{p}.weight" in keys and f"block.0.attn.proj_{p}.weight" in keys for p in _PROJECTIONS
    )
    mlp = any(f"block.0.mlp.fc1_{p}.weight" in keys for p in _PROJECTIONS)
    # the Spike-driven Transformer has the same stem and block names, and talking heads
    return stem and attention and mlp and not any("talking_heads" in key for key in keys)


_PROJECTIONS = ("linear", "conv")


def load(path: Path, contents: Contents, settings: Settings) -> net.Network:
    """The checkpoint as a Network of convolutions, LIF neurons, products and a linear head; nothing is approximated.

    Its input is (channels, height, width), static or a sequence; its answer the sum over model steps of the head.
    Raises UsageError ND121-ND126 (file), ND204 (steps, heads, image size, pooling, width of weights with learned steps
    not stated), ND205 (a value that cannot be), ND304 (NaN); RefusedError ND201 (quantised activations).
    """
    loaded = checkpoint.load(path, contents)
    options = Options(settings, read_sidecar(path), loaded.args)
    weights = Weights(path, loaded.state, FAMILY, options)
    variant = _variant(weights)
    steps = _at_least_one(options, "steps", "T", "time_step", "time_steps", "timesteps")
    heads = _at_least_one(options, "heads", "num_heads")
    pooling = _pooling(options, variant, set(contents.keys()))
    graph, answer = _build(weights, variant, options, steps, heads, pooling)
    reset = options.get("reset", ("zero", "subtract"), default="zero")
    compare = options.get("compare", net.COMPARES, default="ge")
    record: dict[str, Any] = {"variant": {"value": variant.name, "from": "keys"}, **settings.record, **weights.notes}
    record.update(_inferred(graph, answer))
    dead = weights.left(DEAD)
    record["dropped"] = {"value": [n for n in dead if not n.endswith("num_batches_tracked")], "from": "family"}
    semantics = net.Semantics(dt=DT, integrator="euler", reset=reset, compare=compare)
    return net.Network(
        name=path.name.split(".", 1)[0],
        nodes=graph.nodes,
        edges=tuple(graph.edges),
        semantics=semantics,
        steps=steps,
        decode="sum",
        settings=record,
        family=NAME,
    )


def _at_least_one(options: Options, key: str, *names: str) -> int:
    value: int = options.get(key, int, names)
    if value < 1:
        raise UsageError("ND205", f"{key} is {value}", help=f"give 1 or more: --set {key}=...")
    return value


def _variant(weights: Weights) -> Variant:
    projection = "linear" if "block.0.attn.q_linear.weight" in weights else "conv"
    names = weights.names()
    stages: list[tuple[str, str, str, str]] = []
    root = "patch_embed.block1_conv.weight" in weights
    number = 1 if root else 0
    while True:
        part = f"block{number}_{{}}" if root else f"proj_{{}}{number or ''}"
        conv, norm, lif = (f"patch_embed.{part.format(kind)}" for kind in ("conv", "bn", "lif"))
        if f"{conv}.weight" not in names:
            break
        stages.append(
            (conv, norm, lif, f"patch_embed.block{number}_mp" if root else f"patch_embed.maxpool{number or ''}")
        )
        number += 1
    late = "0" * (len(stages) - 2) + "11"
    if root:
        return Variant("root", projection, tuple(stages), late, 0.125)
    if projection == "linear":
        return Variant("cifar10", projection, tuple(stages), late, 0.125)
    planar = weights.axes("block.0.mlp.fc1_conv.weight") == 4
    name, scale = ("imagenet", 0.125) if planar else ("cifar10-dvs", 0.25)
    return Variant(name, projection, tuple(stages), "1" * len(stages), scale)


def _pooling(options: Options, variant: Variant, names: set[str]) -> str:
    """Which stages end in a max pool, a digit each, and whether that agrees with the patch size of the args."""
    # torch stores the names of modules without weights beside the weights: where it did, they say where pools stand
    told = "".join("1" if stage[3] in names else "0" for stage in variant.stages)
    default, origin = (told, "file") if "1" in told else (variant.pooling, "family")
    pooling: str = options.get("pooling", str, default=default, origin=origin)
    if len(pooling) != len(variant.stages) or set(pooling) - set("01"):
        raise UsageError(
            "ND205",
            f"pooling is '{pooling}'; the stem has {len(variant.stages)} stages",
            help=f"give one digit a stage, 1 where a max pool follows: --set pooling={variant.pooling}",
        )
    patch, where = options.find("patch_size")
    if (
        isinstance(patch, int)
        and options.settings.record["pooling"]["from"] not in ("--set", "sidecar")
        and patch != 2 ** pooling.count("1")
    ):
        raise UsageError(
            "ND204",
            f"the {where} say patch_size {patch}, but the {pooling.count('1')} max pools of the {variant.name} variant "
            f"make patches of {2 ** pooling.count('1')}",
            help=f"say where the max pools stand, a digit a stage: --set pooling={variant.pooling}",
        )
    return pooling


def _build(
    weights: Weights, variant: Variant, options: Options, steps: int, heads: int, pooling: str
) -> tuple[Graph, str]:
    eps = options.get("bn_eps", float, default=1e-5)
    tau = options.get("tau", float, default=2.0)
    threshold = options.get("v_threshold", float, default=1.0)
    attention_threshold = options.get("attn_threshold", float, default=0.5)
    scale = options.get("attn_scale", float, default=variant.scale)
    if tau < 1 or threshold <= 0 or attention_threshold <= 0:
        raise UsageError(
            "ND205",
            f"tau is {tau}, v_threshold {threshold}, attn_threshold {attention_threshold}",
            help="tau must be at least 1 step, thresholds above 0",
        )
    graph = Graph(Lif(tau, threshold, options.get("decay_input", bool, default=True)))
    first = weights.take(f"{variant.stages[0][0]}.weight", None, None, None, None) if variant.stages else None
    if first is None:
        raise UsageError(
            "ND125",
            f"'{weights.path}': the stem has no convolution 'patch_embed.proj_conv.weight'",
            help="the checkpoint must be a whole state dict of the family's public model class",
        )
    height, width = image_size(options)
    shape = (first.shape[1], height, width)
    x = graph.add("input", net.Input(shape), shape)
    for (conv, norm, lif, pool), pooled in zip(variant.stages, pooling, strict=True):
        x = graph.neuron(lif, _conv(graph, weights, conv, norm, x, eps))
        if pooled == "1":
            x = graph.max_pool(pool, x)
    rpe = graph.neuron(
        "patch_embed.rpe_lif", _conv(graph, weights, "patch_embed.rpe_conv", "patch_embed.rpe_bn", x, eps)
    )
    x = graph.tokens("tokens", graph.join("patch_embed.sum", x, rpe))
    embedding = graph.shapes[x][0]
    if embedding % heads:
        raise UsageError(
            "ND205", f"{heads} heads do not divide the embedding of {embedding}", help="give the right --set heads=..."
        )
    block = 0
    while any(f"block.{block}.attn.q_{p}.weight" in weights for p in _PROJECTIONS):
        layer = _Layer(graph, weights, f"block.{block}", variant.projection, eps)
        q, k, v = (layer.neuron(f"attn.{n}", x) for n in "qkv")
        attended = graph.attention(f"block.{block}.attn", q, k, v, heads, scale, attention_threshold)
        x = graph.join(f"block.{block}.attn.sum", x, layer.neuron("attn.proj", attended))
        hidden = layer.neuron("mlp.fc1", x)
        x = graph.join(f"block.{block}.mlp.sum", x, layer.neuron("mlp.fc2", hidden))
        block += 1
    weight = weights.take("head.weight", None, embedding)
    bias = weights.take("head.bias", weight.shape[0])
    return graph, graph.mean_head("head", x, weight, bias, steps)


@dataclass(frozen=True)
class _Layer:
    """Linear maps shared by all tokens, as convolutions of kernel 1 over (C, N)."""

    graph: Graph
    weights: Weights
    prefix: str
    projection: str
    eps: float

    def neuron(self, name: str, source: str) -> str:
        """`name`_linear or `name`_conv, `name`_bn and `name`_lif; returns the neuron's name."""
        stem = f"{self.prefix}.{name}"
        linear = f"{stem}_{self.projection}"
        weight = self._weight(linear, self.graph.shapes[source][0])
        weight, bias = folded(self.weights, linear, f"{stem}_bn", weight, self.eps)
        return self.graph.neuron(f"{stem}_lif", self.graph.conv(linear, source, weight, bias))

    def _weight(self, linear: str, inputs: int) -> FloatArray:
        """(C_out, C_in, 1) from a Linear, Conv1d or Conv2d of kernel 1."""
        axes = self.weights.axes(f"{linear}.weight")
        shape = (None, inputs, *(1,) * (max(axes, 2) - 2))
        weight = self.weights.take(f"{linear}.weight", *shape)
        return weight.reshape(weight.shape[0], inputs, 1)


def _conv(graph: Graph, weights: Weights, conv: str, norm: str, source: str, eps: float) -> str:
    kernel = weights.take(f"{conv}.weight", None, graph.shapes[source][0], None, None)
    if any(k % 2 == 0 for k in kernel.shape[2:]):
        raise UsageError(
            "ND125",
            f"'{weights.path}': '{conv}.weight' has a kernel of even size {kernel.shape[2:]}",
            help="the family's stem has 3 x 3 kernels of padding 1",
        )
    weight, bias = folded(weights, conv, norm, kernel, eps)
    return graph.conv(conv, source, weight, bias)


def _inferred(graph: Graph, answer: str) -> dict[str, Any]:
    channels, tokens = graph.shapes["tokens"]
    blocks = sum(name.endswith(".attn.sum") for name in graph.nodes)
    facts = {"embedding": channels, "tokens": tokens, "blocks": blocks, "classes": graph.shapes[answer][0]}
    if blocks:
        facts["mlp_hidden"] = graph.shapes["block.0.mlp.fc1_lif"][0]
    return {key: {"value": value, "from": "weights"} for key, value in facts.items()}
