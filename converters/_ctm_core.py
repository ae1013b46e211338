"""The recurrent part of a CTM as nodes: attention, synapses, neuron-level models, synchronisation, output.

One model step is one tick. Node names are relied upon: kv, k, v, synch_action, q, scores, attention, context, synapse,
pre, trace, hidden, post, z, synch_out, logits.
"""

from __future__ import annotations

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.ir import network as net

from ._ctm_config import Config, Pairs
from ._ctm_graph import Graph
from ._weights import FloatArray, Weights


def build(graph: Graph, weights: Weights, config: Config, entry: str) -> None:
    """All nodes behind `entry`: the token node kv (E, L) with attention, else the input itself.

    The names z, post and synch_out close the loop: post of one tick is z of the next.
    """
    start = weights.take("start_activated_state", config.neurons)
    z = graph.add("z", net.Register(start), (config.neurons,))
    if config.action is not None:
        entry = _attention(graph, weights, config, entry, config.action, start)
    pre = _synapses(graph, weights, config, entry, z)
    post = _neuron_models(graph, weights, config, pre)
    graph.edges.append((post, z))
    # the reference counts the start values as a first pair of products, before the first tick
    out = config.out
    first = net.Synchronisation(
        out.left, out.right, out.decay, start[out.left] * start[out.right], np.ones(out.decay.size)
    )
    graph.add("synch_out", first, out.decay.shape, post)
    weight = weights.take("output_projector.0.weight", config.outputs, out.decay.size)
    logits = graph.linear("logits", "synch_out", weight, weights.take("output_projector.0.bias", config.outputs))
    graph.add("output", net.Output((config.outputs,)), (config.outputs,), logits)


def _attention(graph: Graph, weights: Weights, config: Config, kv: str, action: Pairs, start: FloatArray) -> str:
    """Attention of one query from synch_action over the tokens; returns the node that enters the synapses."""
    width, (_, tokens), heads = config.width, graph.shapes[kv], config.heads
    nothing = np.zeros(action.decay.size)
    pairs = net.Synchronisation(action.left, action.right, action.decay, nothing, nothing)
    graph.add("synch_action", pairs, action.decay.shape, "z")
    inner = weights.take("attention.in_proj_weight", 3 * width, width)
    inner_bias = weights.take("attention.in_proj_bias", 3 * width)
    for i, name in enumerate("kv", 1):
        rows = slice(i * width, (i + 1) * width)
        graph.activation(
            name, "identity", graph.conv(f"attention.{name}_proj", kv, inner[rows][:, :, None], inner_bias[rows])
        )
    weight = weights.take("q_proj.weight", width, action.decay.size)
    q = graph.linear("q_proj", "synch_action", weight, weights.take("q_proj.bias", width))
    graph.activation("q", "identity", graph.linear("attention.q_proj", q, inner[:width], inner_bias[:width]))
    depth = width // heads
    one, many, by_token = (heads, depth), (heads, depth, tokens), (heads, tokens)
    scores = net.Product("q", "k", one, many, "hd,hdl->hl", by_token, 1 / np.sqrt(depth), "d")
    graph.add("scores", scores, by_token, "q", "k")
    graph.add("attention", net.Softmax(by_token), by_token, "scores")
    mixed = net.Product("attention", "v", by_token, many, "hl,hdl->hd", (width,), 1.0, "l")
    graph.add("mixed", mixed, (width,), "attention", "v")
    graph.activation("context", "identity", "mixed")
    out = weights.take("attention.out_proj.weight", width, width)
    return graph.linear("attention.out_proj", "context", out, weights.take("attention.out_proj.bias", width))


def _norm(weights: Weights, name: str, size: int) -> tuple[FloatArray, FloatArray]:
    return weights.take(f"{name}.weight", size), weights.take(f"{name}.bias", size)


def _synapses(graph: Graph, weights: Weights, config: Config, entry: str, z: str) -> str:
    """The synapse model on [entry, z]; ends in the layer norm `pre`. Biases go with the entry."""
    if config.synapse_depth > 1:
        return _u_net(graph, weights, config, entry, z)
    neurons, taken = config.neurons, graph.shapes[entry][0]
    weight = weights.take("synapses.1.weight", 2 * neurons, taken + neurons)
    bias = weights.take("synapses.1.bias", 2 * neurons)
    sides: list[tuple[str, str]] = []
    for side, rows in (("value", slice(0, neurons)), ("gate", slice(neurons, 2 * neurons))):
        sides.append(
            (
                graph.linear(f"synapse.{side}.{config.entry}", entry, weight[rows, :taken], bias[rows]),
                graph.linear(f"synapse.{side}.z", z, weight[rows, taken:]),
            )
        )
    graph.gate("synapse", *sides)
    return graph.norm("pre", (neurons,), 0, _norm(weights, "synapses.3", neurons), "synapse")


def _u_net(graph: Graph, weights: Weights, config: Config, entry: str, z: str) -> str:
    """Blocks of Linear, layer norm and SiLU down to 16 values and up again; each way up adds what went down there."""
    widths = [int(w) for w in np.linspace(config.neurons, 16, config.synapse_depth)]
    taken = graph.shapes[entry][0]
    weight = weights.take("synapses.first_projection.0.weight", widths[0], taken + config.neurons)
    bias = weights.take("synapses.first_projection.0.bias", widths[0])
    sources = (
        graph.linear(f"synapse.first.{config.entry}", entry, weight[:, :taken], bias),
        graph.linear("synapse.first.z", z, weight[:, taken:]),
    )
    affine = _norm(weights, "synapses.first_projection.1", widths[0])
    graph.norm("synapse.first.norm", (widths[0],), 0, affine, *sources)
    down = [graph.activation("synapse.first", "silu", "synapse.first.norm")]

    def block(way: str, i: int, source: str, outputs: int) -> str:
        name, stored = f"synapse.{way}.{i}", f"synapses.{way}_projections.{i}"
        weight = weights.take(f"{stored}.1.weight", outputs, graph.shapes[source][0])
        linear = graph.linear(f"{name}.linear", source, weight, weights.take(f"{stored}.1.bias", outputs))
        graph.norm(f"{name}.norm", (outputs,), 0, _norm(weights, f"{stored}.2", outputs), linear)
        return graph.activation(name, "silu", f"{name}.norm")

    for i, width in enumerate(widths[1:]):
        down.append(block("down", i, down[-1], width))
    x = down[-1]
    for i in reversed(range(len(widths) - 1)):
        up = block("up", i, x, widths[i])
        name = f"synapse.skip.{i}" if i else "pre"
        x = graph.norm(name, (widths[i],), 0, _norm(weights, f"synapses.skip_lns.{i}", widths[i]), up, down[i])
    return x


def _neuron_models(graph: Graph, weights: Weights, config: Config, pre: str) -> str:
    """Every neuron's private model of its own last M pre-activations; returns the node with z of the next tick."""
    neurons, memory = config.neurons, config.memory
    trace = weights.take("start_trace", neurons, memory)
    x = graph.add("trace", net.Trace(trace), (neurons, memory), pre)
    name = "trace_processor.0.0"
    if config.normed:
        x = graph.norm("trace.norm", (neurons, memory), 1, _norm(weights, f"{name}.layernorm", memory), x)
    if not config.hidden:
        _super_linear(graph, weights, name, "post", x, (neurons, memory, 1))
    else:
        x = _super_linear(graph, weights, name, "hidden", x, (neurons, memory, config.hidden))
        name = "trace_processor.0.2"
        if config.normed:
            affine = _norm(weights, f"{name}.layernorm", config.hidden)
            x = graph.norm("hidden.norm", (neurons, config.hidden), 1, affine, x)
        _super_linear(graph, weights, name, "post", x, (neurons, config.hidden, 1))
    return graph.flatten("post.flat", "post")


def _super_linear(
    graph: Graph, weights: Weights, stored: str, name: str, source: str, sizes: tuple[int, int, int]
) -> str:
    """One layer of all neurons' models, (x w + b) / T with a gated linear unit: groups of a convolution, one a neuron.

    sizes: neurons, inputs and gated outputs of each. Of the 2 outputs per gated output the first half are values.
    """
    neurons, inputs, outputs = sizes
    weight = weights.take(f"{stored}.w1", inputs, 2 * outputs, neurons)
    bias = weights.take(f"{stored}.b1", 1, neurons, 2 * outputs)[0]
    temperature = float(weights.take(f"{stored}.T", 1)[0])
    if temperature == 0:
        raise UsageError(
            "ND125",
            f"'{weights.path}': tensor '{stored}.T' is 0, and the layer is divided by it",
            help="the checkpoint is damaged",
        )
    # a source (neurons, inputs) has one channel a neuron; (neurons * inputs, 1) has all of them as channels
    kernel = (1, inputs) if graph.shapes[source] == (neurons, inputs) else (inputs, 1)
    sides: list[str] = []
    for side, part in (("value", slice(0, outputs)), ("gate", slice(outputs, 2 * outputs))):
        rows = np.moveaxis(weight[:, part], -1, 0).transpose(0, 2, 1) / temperature
        sides.append(
            graph.conv(
                f"{name}.{side}",
                source,
                rows.reshape(neurons * outputs, *kernel),
                (bias[:, part] / temperature).reshape(-1),
                groups=neurons,
            )
        )
    return graph.gate(name, (sides[0],), (sides[1],))
