"""Network -> Lowered: neurons become populations, the linear nodes between them one set of synapses each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import DiscreteNeuron, delay_steps, discretise
from ndeploy.graph.shapes import infer
from ndeploy.ir import network as net
from ndeploy.ir.lowered import (
    Accumulate,
    Compare,
    FloatArray,
    Join,
    Lowered,
    Model,
    Or,
    RealPopulation,
    RealProduct,
    RealProjection,
    RealSparse,
    RealSynapses,
    Source,
)
from ndeploy.neurons import Neuron
from ndeploy.passes import compose
from ndeploy.passes.compose import LinearMap
from ndeploy.passes.gains import fold_gains
from ndeploy.passes.loops import back_edges

NEURONS = (net.Integrator, net.IF, net.LI, net.LIF, net.CubaLI, net.CubaLIF)


@dataclass
class _Build:
    """What the walk collects."""

    network: net.Network
    shapes: dict[str, tuple[int, ...]]
    carriers: dict[str, Model]
    nodes: dict[str, net.Node]
    """Of the network, and a mask for each value of a delay that differs between elements."""
    populations: list[RealPopulation] = field(default_factory=list)
    projections: list[RealProjection] = field(default_factory=list)
    products: list[RealProduct] = field(default_factory=list)
    split: set[str] = field(default_factory=set)
    """Projections that hold the elements of one delay of several."""


def _is_ones(node: net.Node) -> bool:
    return isinstance(node, net.Scale) and bool((node.scale == 1).all())


def _consumers(network: net.Network, name: str) -> list[net.Node]:
    """Nodes that use a value, seen through reshapes."""
    found: list[net.Node] = []
    for target in network.targets(name):
        node = network.nodes[target]
        found += _consumers(network, target) if isinstance(node, net.Flatten) else [node]
    return found


def _model(network: net.Network, name: str, graded: bool) -> Model | None:
    """The population a node becomes, or None where it dissolves into synapses."""
    node = network.nodes[name]
    if isinstance(node, net.Input):
        return Source()
    if isinstance(node, net.IntegerNeuron):
        return node.neuron
    if isinstance(node, net.Threshold):
        semantics = node.semantics or network.semantics
        return Compare(node.threshold, semantics.compare == "ge")
    if isinstance(node, NEURONS):
        return discretise(node, network.semantics, name)
    if isinstance(node, net.Pool) and node.kind == "max":
        return Or()
    consumers = _consumers(network, name)
    if _is_ones(node) and len(network.sources(name)) > 1:
        # without graded messages the branches' synapses end side by side on what follows
        return Join() if graded else None
    if isinstance(node, net.Product):
        direct = len(consumers) == 1 and isinstance(consumers[0], NEURONS) and consumers[0] is _only(network, name)
        return None if direct else Join()
    if isinstance(node, net.Pool | net.Reduce) and graded:
        # a relay keeps the weights that follow shared; without graded messages the two fold into one matrix
        return Join() if any(isinstance(c, net.Linear | net.Conv) for c in consumers) else None
    return None


def _only(network: net.Network, name: str) -> net.Node | None:
    targets = network.targets(name)
    return network.nodes[targets[0]] if len(targets) == 1 else None


def _delayed(build: _Build, name: str, node: net.Delay, path: _Path) -> list[_Path]:
    """The ways through a Delay node: one or, where elements differ, one for each delay with a mask of its elements."""
    steps = delay_steps(node, build.network.semantics, name)
    if (steps == steps.flat[0]).all():
        return [replace(path, lag=path.lag + int(steps.flat[0]))]
    steps = np.broadcast_to(steps, build.shapes[name])
    ways = []
    for d in np.unique(steps).tolist():
        mask = f"{name}.delay{d}"
        while mask in build.network.nodes:
            mask += "'"
        build.nodes[mask] = net.Scale((steps == d).astype(np.float64))
        build.shapes[mask] = build.shapes[name]
        ways.append(_Path((mask, *path.nodes), path.lag + d, (*path.masks, mask)))
    return ways


@dataclass(frozen=True, eq=False)
class _Path:
    """Linear nodes between a carrier and the population under construction, in the order the value passes them."""

    nodes: tuple[str, ...] = ()
    lag: int = 0
    masks: tuple[str, ...] = ()


def _walk(build: _Build, target: str, name: str, path: _Path, bias: list[FloatArray]) -> None:
    """Go up from `name` (whose value flows down `path` into `target`), adding projections, products and biases."""
    network = build.network
    node = network.nodes[name]
    if name in build.carriers:
        _project(build, name, target, path)
        return
    if isinstance(node, net.Product):
        if path.nodes or path.lag:
            raise RefusedError(
                "ND203",
                f"product '{name}' is followed by the linear node '{path.nodes[0]}'",
                help="this combination needs a graded relay; choose a target with graded spikes",
            )
        build.products.append(_product(build, name, node, target))
        return
    if isinstance(node, net.Delay):
        ways = _delayed(build, name, node, path)
    else:
        path = replace(path, nodes=(name, *path.nodes))
        ways = [path]
    own = getattr(node, "bias", None)
    if own is not None and np.any(own):
        if path.lag:
            raise RefusedError(
                "ND201",
                f"node '{name}': its bias passes a delay of {path.lag} steps, so it would set in late",
                help="put the delay before the biased node",
            )
        shape = build.shapes[name]
        value = np.broadcast_to(own.reshape(-1, *(1,) * (len(shape) - 1)), shape).astype(np.float64)
        bias.append(_through(build, path.nodes[1:], value, shape))
    sources = network.sources(name)
    if not sources:
        raise RefusedError("ND202", f"node '{name}' has no input", help="connect it, or remove it from the graph")
    for way in ways:
        for source in sources:
            _walk(build, target, source, way, bias)


def _through(build: _Build, nodes: tuple[str, ...], value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    map_ = compose.identity(shape)
    for name in nodes:
        map_ = compose.then(map_, build.nodes[name], name, build.shapes[name])
    return compose.apply(map_.synapses, value).reshape(-1)


def _map(build: _Build, source: str, nodes: tuple[str, ...]) -> LinearMap:
    map_ = compose.identity(build.shapes[source])
    for name in nodes:
        map_ = compose.then(map_, build.nodes[name], name, build.shapes[name])
    return map_


def _project(build: _Build, source: str, target: str, path: _Path) -> None:
    map_ = _map(build, source, path.nodes)
    synapses = map_.synapses
    size = int(np.prod(build.shapes[source]))
    if synapses is None:
        index = np.arange(size, dtype=np.int64)
        synapses = RealSparse(np.ones(size), index, index, size, size)
    if path.masks:
        synapses = compose.without_zeros(synapses)
        if not synapses.weight.size:
            return
    taken = {p.name for p in build.projections}
    base = ".".join([*(n for n in path.nodes[-1:] if n not in path.masks), *path.masks]) or f"{source}->{target}"
    name = base if base not in taken else f"{source}->{base}"
    while name in taken:
        name += "'"
    if path.masks:
        build.split.add(name)
    delays = map_.integer.delays if map_.integer else None
    build.projections.append(RealProjection(name, source, target, synapses, path.lag, delays, map_.unit, map_.integer))


def _operand(build: _Build, product: str, name: str) -> str:
    """The population an operand's messages come from, seen through reshapes."""
    while name not in build.carriers:
        node = build.network.nodes[name]
        if len(build.network.sources(name)) != 1 or not (isinstance(node, net.Flatten) or _is_ones(node)):
            raise RefusedError(
                "ND201",
                f"product '{product}': its operand '{name}' ({type(node).__name__}) is no population",
                help="operands of a product must be spikes or graded messages: put a neuron after that node",
            )
        name = build.network.sources(name)[0]
    return name


def _product(build: _Build, name: str, node: net.Product, target: str) -> RealProduct:
    left, right = _operand(build, name, node.left), _operand(build, name, node.right)
    # the counts of a product and of the population that holds its result stand side by side: two names
    own = f"{name}.multiply" if target == name else name
    return RealProduct(
        own, left, right, target, node.left_view, node.right_view, node.subscripts, node.scale, node.stream
    )


def _outputs(build: _Build, name: str) -> tuple[str, str]:
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
    if isinstance(model, Compare | Or):
        return source, "message"
    build.carriers[name] = Accumulate()
    return name, "v"


def lower(network: net.Network, steps: int, *, graded: bool) -> Lowered:
    """Populations, projections and products of a network.

    steps: model steps a sample. graded: whether messages may carry integers; without, pools fold into the next weights.
    Raises RefusedError ND201, ND202, ND203.
    """
    shapes = dict(infer(network))
    carriers: dict[str, Model] = {}
    for name in network.nodes:
        model = _model(network, name, graded)
        if model is not None:
            carriers[name] = model
    build = _Build(network, shapes, carriers, dict(network.nodes))
    output_names = [n for n, node in network.nodes.items() if isinstance(node, net.Output)]
    outputs = tuple(_outputs(build, name) for name in output_names)
    if not outputs:
        raise RefusedError("ND202", "the network has no output", help="add an Output node to the graph")
    for name, model in build.carriers.items():
        bias: list[FloatArray] = []
        node = network.nodes[name]
        shape = shapes[name]
        if isinstance(node, net.Product):
            build.products.append(_product(build, name, node, name))
        elif isinstance(model, Or | Join) and not _is_ones(node):
            # pools and reductions are populations whose own node is the last of each path
            for source in network.sources(name):
                _walk_pool(build, name, node, source)
        elif not isinstance(model, Source):
            for source in network.sources(name):
                _walk(build, name, source, _Path(), bias)
        total = np.sum(bias, axis=0).reshape(shape) if bias else None
        build.populations.append(RealPopulation(name, shape, model, total))
    inputs = tuple(name for name, model in build.carriers.items() if isinstance(model, Source))
    lagged = back_edges(build.populations, build.projections, build.products, inputs)
    if lagged & build.split:
        raise RefusedError(
            "ND201",
            f"projection '{min(lagged & build.split)}' closes a loop through a Delay node whose delays differ and some "
            "of which are 0",
            help="give every element of that node a delay of at least one step",
        )
    extra = network.semantics.recurrent_delay
    late = {p.name for p in build.populations if _sees_current_late(p)}
    projections = tuple(
        RealProjection(p.name, p.source, p.target, p.synapses, extra, p.delays, p.unit, p.integer)
        if p.name in lagged and p.lag == 0
        else p
        for p in build.projections
    )
    projections = tuple(replace(p, lag=p.lag + 1) if p.target in late else p for p in projections)
    populations, products = tuple(build.populations), tuple(build.products)
    return fold_gains(Lowered(populations, projections, products, inputs, outputs, network.decode, steps))


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


def _walk_pool(build: _Build, name: str, node: net.Node, source: str) -> None:
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
