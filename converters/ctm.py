"""Continuous Thought Machines (SakanaAI/continuous-thought-machines, arXiv 2505.05522) for images, mazes, parity, sort.

    kv = norm(features of x)                                           once: x stands still
    tick: synch_action(z) -> q;  attention over kv -> synapses([attention, z]) -> pre
          trace: the last M values of pre;  every neuron's own model of its trace -> post;  z of the next tick
          synch_out(post) -> logits

A model step is a tick. Shapes tell the architecture and are compared with args, sidecar and --set; iterations, heads,
prediction_reshaper and the size of images are asked for where nobody states them. Everything is exact: batch norm,
temperatures, positional embeddings and the parity embedding are folded into the linear maps beside them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ndeploy import checkpoint
from ndeploy.contents import Contents
from ndeploy.ir import network as net
from ndeploy.settings import Settings

from . import _ctm_backbone, _ctm_config, _ctm_core, _ctm_position
from ._ctm_config import Config
from ._ctm_graph import Graph
from ._options import Options, read_sidecar
from ._weights import Weights

NAME = "ctm"
FAMILY = "Continuous Thought Machine"

DEAD = (r".*\.num_batches_tracked", r"action_neuron_indices_(left|right)", r"decay_params_action")
"""Tensors that no tick reads; those of the action synchronisation are left where a machine for sorting has them."""

TYPICAL = {"parity": "signs", "sort": "normal"}
"""What inputs look like, by task."""

_KEYS = {"start_trace", "trace_processor.0.0.w1", "decay_params_out"}


def detect(path: Path, contents: Contents) -> bool:
    """Whether the file holds a CTM, one that is refused later included: its start trace, models and decays."""
    if contents.kind not in ("zip-checkpoint", "pickle", "safetensors", "npz"):
        return False
    keys = contents.keys()
    return {key.replace("_orig_mod.", "").removeprefix("module.") for key in keys} >= _KEYS


def load(path: Path, contents: Contents, settings: Settings) -> net.Network:
    """The checkpoint as a Network of linear maps, graded nodes and two products, one model step a tick.

    Raises UsageError ND121-ND126 (file), ND204 (iterations, heads, prediction_reshaper or sizes not stated), ND205 (a
    value that cannot be), ND209 (a value the weights contradict), ND304 (NaN); RefusedError ND201 (an operation of
    another kind of CTM).
    """
    loaded = checkpoint.load(path, contents)
    # modules that were compiled for training carry a wrapper's name
    state = {name.replace("_orig_mod.", ""): value for name, value in loaded.state.items()}
    # the model hub keeps what the class was made with beside the weights
    beside = read_sidecar(path, "config.json" if contents.kind == "safetensors" else "")
    options = Options(settings, beside, loaded.args)
    weights = Weights(path, state, FAMILY, options)
    config = _ctm_config.read(weights, options)
    graph = Graph()
    entry = graph.add(
        "x",
        net.Input(config.input_shape, static=True, typical=TYPICAL.get(config.task, "")),
        config.input_shape,
    )
    if config.action is not None:
        entry = _tokens(graph, weights, config)
    _ctm_core.build(graph, weights, config, entry)
    weights.left(DEAD)
    return net.Network(
        name=path.name.split(".", 1)[0],
        nodes=graph.nodes,
        edges=tuple(graph.edges),
        steps=config.iterations,
        decode="ctc" if config.task == "sort" else "most-certain",
        answer=config.answer,
        settings={**settings.record, **config.record, **weights.notes},
        family=NAME,
    )


def _tokens(graph: Graph, weights: Weights, config: Config) -> str:
    """x to kv (E, L): features and positions through kv_proj, one projection for all positions, then layer norm."""
    width = config.width
    weight = weights.take("kv_proj.0.weight", width, None)
    bias = weights.take("kv_proj.0.bias", width)
    affine = weights.take("kv_proj.1.weight", width), weights.take("kv_proj.1.bias", width)
    if config.backbone == "parity_backbone":
        length = config.input_shape[0]
        slope, offset = _ctm_backbone.parity_tokens(weights, weight.shape[1])
        position = _ctm_position.embedding(weights, weight.shape[1], (length,))
        at = offset[:, None] + (np.zeros((1, length)) if position is None else position)
        # a bias for every position: token l of the flattened (E, L) reads number l of x
        each = np.einsum("e,lm->elm", weight @ slope, np.eye(length)).reshape(width * length, length)
        linear = graph.linear("kv_proj", "x", each, (weight @ at + bias[:, None]).reshape(-1))
        node = net.LayerNorm((width, length), (width, length), 0, *affine)
        return graph.add("kv", node, (width, length), linear)
    features = _ctm_backbone.build(graph, weights, config.backbone, "x", config.bn_eps)
    channels, *spatial = graph.shapes[features.source]
    weight = weights.take("kv_proj.0.weight", width, channels)
    bias = bias + weight @ features.shift
    position = _ctm_position.embedding(weights, channels, tuple(spatial))
    if position is not None:
        bias = bias.reshape(-1, *(1,) * len(spatial)) + np.tensordot(weight, position, 1)
    kernel = (weight * features.gain).reshape(width, channels, *(1,) * len(spatial))
    projected = graph.flatten("kv_proj.tokens", graph.conv("kv_proj", features.source, kernel, bias), 1)
    return graph.norm("kv", graph.shapes[projected], 0, affine, projected)
