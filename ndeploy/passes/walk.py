"""The walk from a population up to the populations that feed it: what lies between becomes one set of synapses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import delay_steps
from ndeploy.ir import network as net
from ndeploy.ir.lowered import FloatArray, Model, RealPopulation, RealProduct, RealProjection, RealSparse
from ndeploy.passes import compose
from ndeploy.passes.compose import LinearMap
from ndeploy.passes.models import is_ones


@dataclass
class Build:
    """What the walk collects.

    graded: whether the network has graded nodes, whose identity paths are weights like others.
    """

    network: net.Network
    shapes: dict[str, tuple[int, ...]]
    carriers: dict[str, Model]
    nodes: dict[str, net.Node]
    """Of the network, and a mask for each value of a delay that differs between elements."""
    graded: bool = False
    populations: list[RealPopulation] = field(default_factory=list)
    projections: list[RealProjection] = field(default_factory=list)
    products: list[RealProduct] = field(default_factory=list)
    split: set[str] = field(default_factory=set)
    """Projections that hold the elements of one delay of several."""

    def size(self, name: str) -> int:
        """Neurons of a carrier, or values of a node."""
        return math.prod(self.shapes[name])

    def free_name(self, base: str, source: str) -> str:
        """A name for a projection that none has yet."""
        taken = {p.name for p in self.projections}
        name = base if base not in taken else f"{source}->{base}"
        while name in taken:
            name += "'"
        return name


@dataclass(frozen=True, eq=False)
class Path:
    """Linear nodes between a carrier and `port` of the population under construction, in the order of the value."""

    nodes: tuple[str, ...] = ()
    lag: int = 0
    masks: tuple[str, ...] = ()
    port: str = "in"


Biases = dict[str, list[FloatArray]]
"""By port, the flat constants that arrive there."""


def identity(size: int) -> RealSparse:
    """Every neuron to its own number, with weight 1."""
    index = np.arange(size, dtype=np.int64)
    return RealSparse(np.ones(size), index, index, size, size)


def walk(build: Build, target: str, name: str, path: Path, bias: Biases) -> None:
    """Go up from `name` (whose value flows down `path` into `target`), adding projections, products and biases.

    Raises RefusedError ND201, ND202, ND203.
    """
    network = build.network
    node = network.nodes[name]
    if name in build.carriers:
        project(build, name, target, path)
        return
    if isinstance(node, net.Product):
        if path.nodes or path.lag:
            raise RefusedError(
                "ND203",
                f"product '{name}' is followed by the linear node '{path.nodes[0]}'",
                help="this combination needs a graded relay; choose a target with graded spikes",
            )
        build.products.append(product(build, name, node, target))
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
        each = own if own.shape == shape else own.reshape(-1, *(1,) * (len(shape) - 1))
        value = np.broadcast_to(each, shape).astype(np.float64)
        bias.setdefault(path.port, []).append(_through(build, path.nodes[1:], value, shape))
    sources = network.sources(name)
    if not sources:
        raise RefusedError("ND202", f"node '{name}' has no input", help="connect it, or remove it from the graph")
    for way in ways:
        for source in sources:
            walk(build, target, source, way, bias)


def _delayed(build: Build, name: str, node: net.Delay, path: Path) -> list[Path]:
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
        ways.append(replace(path, nodes=(mask, *path.nodes), lag=path.lag + d, masks=(*path.masks, mask)))
    return ways


def _through(build: Build, nodes: tuple[str, ...], value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return compose.apply(_composed(build, shape, nodes).synapses, value).reshape(-1)


def _composed(build: Build, shape: tuple[int, ...], nodes: tuple[str, ...]) -> LinearMap:
    map_ = compose.identity(shape)
    for name in nodes:
        map_ = compose.then(map_, build.nodes[name], name, build.shapes[name])
    return map_


def project(build: Build, source: str, target: str, path: Path) -> None:
    """The projection of one path."""
    map_ = _composed(build, build.shapes[source], path.nodes)
    synapses = map_.synapses
    # where messages have scales of their own, a one is a weight like any other
    unit = map_.unit and not build.graded
    if synapses is None:
        synapses = identity(build.size(source))
    if path.masks:
        synapses = compose.without_zeros(synapses)
        if not synapses.weight.size:
            return
    base = ".".join([*(n for n in path.nodes[-1:] if n not in path.masks), *path.masks]) or f"{source}->{target}"
    name = build.free_name(base, source)
    if path.masks:
        build.split.add(name)
    delays = map_.integer.delays if map_.integer else None
    build.projections.append(
        RealProjection(name, source, target, synapses, path.lag, delays, unit, map_.integer, path.port)
    )


def _operand(build: Build, product: str, name: str) -> str:
    """The population an operand's messages come from, seen through reshapes."""
    while name not in build.carriers:
        node = build.network.nodes[name]
        if len(build.network.sources(name)) != 1 or not (isinstance(node, net.Flatten) or is_ones(node)):
            raise RefusedError(
                "ND201",
                f"product '{product}': its operand '{name}' ({type(node).__name__}) is no population",
                help="operands of a product must be spikes or graded messages: put a neuron after that node",
            )
        name = build.network.sources(name)[0]
    return name


def product(build: Build, name: str, node: net.Product, target: str) -> RealProduct:
    """The product of a node, ending on `target`. Raises RefusedError ND201."""
    left, right = _operand(build, name, node.left), _operand(build, name, node.right)
    # the counts of a product and of the population that holds its result stand side by side: two names
    own = f"{name}.multiply" if target == name else name
    return RealProduct(
        own, left, right, target, node.left_view, node.right_view, node.subscripts, node.scale, node.stream
    )
