"""Network -> Lowered: neurons become populations, the linear nodes between them one set of synapses each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndeploy.errors import RefusedError, UsageError
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.graph.shapes import infer
from ndeploy.ir import network as net
from ndeploy.ir.lowered import (
    GRADED,
    Accumulate,
    Compare,
    Graded,
    Join,
    Lowered,
    Model,
    Or,
    RealPopulation,
    RealProjection,
    RealSynapses,
    Source,
)
from ndeploy.neurons import Neuron
from ndeploy.passes import compose
from ndeploy.passes.delta_coding import delta_coded
from ndeploy.passes.gains import fold_gains
from ndeploy.passes.graded_form import graded_form
from ndeploy.passes.loops import back_edges
from ndeploy.passes.models import GRADED_NODES, WIRED, is_graded, is_ones, model_of
from ndeploy.passes.static import hold_static
from ndeploy.passes.walk import Biases, Build, Path, product, walk
from ndeploy.passes.wires import wire

CODINGS = ("none", "sigma-delta")


def _outputs(build: Build, name: str) -> tuple[str, str]:
    """The population and variable read for an Output node; a linear value gets an accumulating readout."""
    sources = build.network.sources(name)
    source = sources[0] if len(sources) == 1 else ""
    while source and isinstance(build.network.nodes[source], net.Flatten):
        above = build.network.sources(source)
        source = above[0] if len(above) == 1 else ""
    model = build.carriers.get(source)
    if isinstance(model, DiscreteNeuron):
        return source, "message" if model.spiking else "v"
    if isinstance(model, Neuron):
        return source, "message" if model.message.bits else "v"
    if isinstance(model, (Compare, Or, *GRADED)):
        return source, "message"
    if build.network.decode in ("most-certain", "ctc"):
        # read at every model step by itself
        build.carriers[name] = Graded()
        return name, "message"
    build.carriers[name] = Accumulate()
    return name, "v"


def lower(network: net.Network, steps: int, *, graded: bool, coding: str = "none") -> Lowered:
    """Populations, projections and products of a network.

    steps: model steps a sample. graded: whether messages may carry integers; without, pools fold into the next weights.
    coding: one of `CODINGS`; "sigma-delta" sends the changes of what registers hold. Raises RefusedError ND201, ND202,
    ND203, ND210 (nothing to delta-code), ND403 (graded nodes without graded messages), UsageError ND205 (unknown
    coding).
    """
    if coding not in CODINGS:
        raise UsageError("ND205", f"unknown coding '{coding}'", help=f"choose one of {', '.join(CODINGS)}")
    _need_graded(network, graded)
    given, network = network, graded_form(network)
    build = Build(network, dict(infer(network)), _carriers(network, graded), dict(network.nodes), is_graded(network))
    output_names = [n for n, node in network.nodes.items() if isinstance(node, net.Output)]
    outputs = tuple(_outputs(build, name) for name in output_names)
    if not outputs:
        raise RefusedError("ND202", "the network has no output", help="add an Output node to the graph")
    for name, model in build.carriers.items():
        _populate(build, name, model)
    inputs = tuple(name for name, model in build.carriers.items() if isinstance(model, Source))
    why = "what is sent on from here had no node of its own"
    lowered = Lowered(
        tuple(build.populations),
        _lagged(build, inputs),
        tuple(build.products),
        inputs,
        outputs,
        network.decode,
        steps,
        tuple((name, why) for name in network.nodes if name not in given.nodes and name in build.carriers),
        network.answer,
    )
    lowered = fold_gains(lowered)
    if coding == "sigma-delta":
        lowered = delta_coded(lowered)
    return hold_static(lowered, [name for name in inputs if getattr(network.nodes[name], "static", False)])


def _need_graded(network: net.Network, graded: bool) -> None:
    found = [name for name, node in network.nodes.items() if isinstance(node, GRADED_NODES)]
    if found and not graded:
        raise RefusedError(
            "ND403",
            f"node '{found[0]}' ({type(network.nodes[found[0]]).__name__}) sends graded messages, which this target "
            "does not have",
            help="choose a target with graded spikes, such as loihi2",
        )


def _carriers(network: net.Network, graded: bool) -> dict[str, Model]:
    found = {name: model_of(network, name, graded) for name in network.nodes}
    return {name: model for name, model in found.items() if model is not None}


def _populate(build: Build, name: str, model: Model) -> None:
    """The population of a carrier, and what ends on it."""
    network = build.network
    node, shape = network.nodes[name], build.shapes[name]
    bias: Biases = {}
    if isinstance(node, net.Product):
        build.products.append(product(build, name, node, name))
    elif isinstance(node, WIRED):
        wire(build, name, node)
    elif isinstance(node, net.Gate):
        for port, sources in (("in", node.value), ("gate", node.gate)):
            for source in sources:
                walk(build, name, source, Path(port=port), bias)
    elif isinstance(model, Or | Join) and not is_ones(node):
        # pools and reductions are populations whose own node is the last of each path
        for source in network.sources(name):
            _walk_pool(build, name, node, source)
    elif not isinstance(model, Source):
        for source in network.sources(name):
            walk(build, name, source, Path(), bias)
    totals = {port: np.sum(values, axis=0).reshape(shape) for port, values in bias.items()}
    build.populations.append(RealPopulation(name, shape, model, totals.pop("in", None), totals))


def _lagged(build: Build, inputs: tuple[str, ...]) -> tuple[RealProjection, ...]:
    """The projections, with a lag on those that close a loop and on those whose neuron sees its current late."""
    lagged = back_edges(build.populations, build.projections, build.products, inputs)
    if lagged & build.split:
        raise RefusedError(
            "ND201",
            f"projection '{min(lagged & build.split)}' closes a loop through a Delay node whose delays differ and some "
            "of which are 0",
            help="give every element of that node a delay of at least one step",
        )
    extra = build.network.semantics.recurrent_delay
    late = {p.name for p in build.populations if _sees_current_late(p)}
    projections = [replace(p, lag=extra) if p.name in lagged and p.lag == 0 else p for p in build.projections]
    return tuple(replace(p, lag=p.lag + 1) if p.target in late else p for p in projections)


def _sees_current_late(population: RealPopulation) -> bool:
    """Whether the membrane sees the current of the step before: the same as input that comes one step later."""
    model = population.model
    if not isinstance(model, DiscreteNeuron) or not model.has_current or model.synapse_first:
        return False
    if population.bias is not None:
        raise RefusedError(
            "ND201",
            f"population '{population.name}' has a bias on a current that its membrane sees one step late",
            help="move the bias behind the neuron's current, or use --set synapse_first=true if that is what was meant",
        )
    return True


def _walk_pool(build: Build, name: str, node: net.Node, source: str) -> None:
    """Projections into a pooling or reducing population: its own windows are the synapses."""
    network = build.network
    while source not in build.carriers:
        above = network.nodes[source]
        if not isinstance(above, net.Flatten):
            raise RefusedError(
                "ND203",
                f"node '{name}' ({type(node).__name__}) pools the linear node '{source}'",
                help="pool after a neuron: only spikes and graded messages can be pooled on a chip",
            )
        source = network.sources(source)[0]
    in_shape = node.input_shape if isinstance(node, net.Reduce) else build.shapes[source]
    if isinstance(node, net.Pool) and node.kind == "max":
        synapses: RealSynapses = compose.pool_synapses(node, in_shape, 1.0)
    else:
        synapses, _ = compose.synapses_of(node, name, in_shape)
    build.projections.append(RealProjection(f"{source}->{name}", source, name, synapses, unit=True))
