"""Shape inference: what every node of a Network puts out, and whether connected nodes agree.

Shapes are a sample's, without batch and time. Loops are legal: inference walks forward from whatever is known (inputs,
and nodes whose parameters give their shape), then checks every edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.graph.graded_shapes import GRADED, check_graded, graded_output
from ndeploy.ir import network as ir

Shape = tuple[int, ...]

_NEURONS = (ir.Threshold, ir.Integrator, ir.IF, ir.LI, ir.LIF, ir.CubaLI, ir.CubaLIF)
_PARAMETERS = ("tau", "tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in", "threshold")


def infer(network: ir.Network) -> Mapping[str, Shape]:
    """The output shape of every node, by name.

    Raises UsageError ND202 where an edge names no node, where two nodes that meet disagree on a shape, or where a
    shape cannot be known; the message names the nodes and both shapes.
    """
    sources: dict[str, list[str]] = {name: [] for name in network.nodes}
    targets: dict[str, list[str]] = {name: [] for name in network.nodes}
    for source, target in network.edges:
        for end in (source, target):
            if end not in network.nodes:
                raise UsageError(
                    "ND202",
                    f"edge '{source}' -> '{target}': there is no node '{end}'",
                    help="the file is inconsistent; export the network again",
                )
        sources[target].append(source)
        targets[source].append(target)

    shapes: dict[str, Shape] = {}
    ready = [name for name, node in network.nodes.items() if isinstance(node, ir.Input)]
    late = [name for name in network.nodes if name not in ready]
    while ready or late:
        if not ready:
            # nothing more follows from the inputs: a node that knows its own shape starts the rest
            known = [name for name in late if name not in shapes and own_shape(network.nodes[name]) is not None]
            late = [name for name in late if name not in shapes]
            if not known:
                break
            ready = known[:1]
        name = ready.pop(0)
        if name in shapes:
            continue
        arrived = [shapes[s] for s in sources[name] if s in shapes]
        shapes[name] = _output(network, name, arrived)
        ready += [t for t in targets[name] if t not in shapes]
    missing = [name for name in network.nodes if name not in shapes]
    if missing:
        raise UsageError(
            "ND202",
            f"node '{missing[0]}': its shape cannot be known, nothing with a shape leads to it",
            help="connect the node to an Input node that states a shape, or remove it",
        )
    for name, node in network.nodes.items():
        _check(network, name, node, sources[name], shapes)
    return shapes


def input_shape(network: ir.Network, name: str, shapes: Mapping[str, Shape]) -> Shape:
    """Shape of the value that arrives at node `name`; the node's own output shape where nothing arrives."""
    arriving = network.sources(name)
    return shapes[arriving[0]] if arriving else shapes[name]


def spread(value: Sequence[int] | int, axes: int) -> Shape:
    """A per-axis parameter: one number stands for all `axes`. Raises ValueError for any other count."""
    values = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) == 1:
        return values * axes
    if len(values) != axes:
        raise ValueError(f"{len(values)} values for {axes} axes")
    return values


def window(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Positions of a window along one axis: floor((size + 2 p - d (k - 1) - 1) / s) + 1 (PyTorch's Conv2d)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv_output(name: str, node: ir.Conv, given: Shape) -> Shape:
    """(C_out, *spatial) of a convolution of an input (C_in, *spatial). Raises UsageError ND202."""
    axes = node.weight.ndim - 2
    channels = node.weight.shape[1] * node.groups
    if len(given) != axes + 1 or given[0] != channels:
        expected = ("?",) * axes
        _disagree(name, f"a convolution of ({', '.join(map(str, (channels, *expected)))})", given)
    if node.weight.shape[0] % node.groups:
        _disagree(name, f"{node.groups} groups", (node.weight.shape[0],))
    try:
        stride, padding, dilation = (spread(v, axes) for v in (node.stride, node.padding, node.dilation))
    except ValueError as error:
        raise UsageError(
            "ND202", f"node '{name}': stride, padding or dilation has {error}", help="export the network again"
        ) from error
    spatial = tuple(
        window(n, k, s, p, d)
        for n, k, s, p, d in zip(given[1:], node.weight.shape[2:], stride, padding, dilation, strict=True)
    )
    found = _positive(name, (node.weight.shape[0], *spatial), given)
    if node.bias is not None and node.bias.shape not in (found[:1], found):
        _disagree(name, f"a bias of shape {found[:1]} or {found}", node.bias.shape)
    return found


def pool_output(name: str, node: ir.Pool, given: Shape) -> Shape:
    """Shape after pooling the last two axes. Raises UsageError ND202."""
    if len(given) < 2:
        _disagree(name, "pooling over two axes", given)
    spatial = tuple(
        window(n, k, s, p) for n, k, s, p in zip(given[-2:], node.kernel, node.stride, node.padding, strict=True)
    )
    return _positive(name, (*given[:-2], *spatial), given)


def flatten_output(name: str, node: ir.Flatten, given: Shape) -> Shape:
    """Shape after merging axes start..end (inclusive, negative from the end). Raises UsageError ND202."""
    n = len(given)
    start, end = (node.start + n if node.start < 0 else node.start), (node.end + n if node.end < 0 else node.end)
    if not 0 <= start <= end < max(n, 1):
        _disagree(name, f"merging axes {node.start}..{node.end}", given)
    return (*given[:start], math.prod(given[start : end + 1]), *given[end + 1 :])


def reduce_output(name: str, node: ir.Reduce, given: Shape) -> Shape:
    """Shape without the reduced axes. Raises UsageError ND202."""
    n = len(given)
    axes = {axis + n if axis < 0 else axis for axis in node.axes}
    if not axes <= set(range(n)):
        _disagree(name, f"reducing axes {node.axes}", given)
    return tuple(size for axis, size in enumerate(given) if axis not in axes)


def own_shape(node: ir.Node) -> Shape | None:
    """The output shape that a node's own parameters give, None where it depends on the input."""
    if isinstance(node, ir.Input | ir.Output | ir.IntegerNeuron):
        return tuple(node.shape)
    if isinstance(node, ir.Linear):
        return (node.weight.shape[0],)
    if isinstance(node, ir.Product):
        return tuple(node.output_shape)
    if isinstance(node, GRADED):
        return graded_output(node)
    if isinstance(node, ir.Flatten):
        return flatten_output("", node, node.input_shape) if node.input_shape else None
    if isinstance(node, ir.Reduce):
        return reduce_output("", node, node.input_shape)
    found = parameters(node)
    if found and any(p.ndim for p in found):
        try:
            return np.broadcast_shapes(*(p.shape for p in found))
        except ValueError:
            return None
    return None


def parameters(node: ir.Node) -> list[ir.FloatArray]:
    """The parameter arrays of a node that has one value an element (neurons, Scale, Delay); empty for others."""
    if isinstance(node, ir.Scale):
        return [np.asarray(node.scale)]
    if isinstance(node, ir.Delay):
        return [np.asarray(node.delay)]
    if isinstance(node, _NEURONS):
        return [np.asarray(getattr(node, p)) for p in _PARAMETERS if hasattr(node, p)]
    return []


def _output(network: ir.Network, name: str, arrived: list[Shape]) -> Shape:
    """The output shape from the first shape that arrived (the others are checked later)."""
    node = network.nodes[name]
    if arrived and isinstance(node, ir.Conv):
        return conv_output(name, node, arrived[0])
    if arrived and isinstance(node, ir.Pool):
        return pool_output(name, node, arrived[0])
    if arrived and isinstance(node, ir.Flatten) and not node.input_shape:
        return flatten_output(name, node, arrived[0])
    if arrived and parameters(node):
        return arrived[0]
    own = own_shape(node)
    if own is None:
        raise UsageError(
            "ND202",
            f"node '{name}': its parameters have different shapes",
            help="give every parameter of a node the same shape",
        )
    return own


def _check(network: ir.Network, name: str, node: ir.Node, sources: list[str], shapes: Mapping[str, Shape]) -> None:
    """Every value that arrives at the node has the shape the node takes."""
    if isinstance(node, ir.Product):
        _check_product(name, node, sources, shapes)
        return
    if isinstance(node, GRADED):
        check_graded(name, node, sources, shapes)
        return
    for other in sources[1:]:
        if shapes[other] != shapes[sources[0]]:
            raise UsageError(
                "ND202",
                f"node '{name}' sums '{sources[0]}' of shape {shapes[sources[0]]} and '{other}' of shape "
                f"{shapes[other]}",
                help="values that enter one node must have one shape",
            )
    given = shapes[sources[0]] if sources else None
    if given is None:
        return
    if isinstance(node, ir.Linear):
        if math.prod(given) != node.weight.shape[1]:
            _disagree(name, f"{node.weight.shape[1]} values", given, sources[0])
    elif isinstance(node, ir.Flatten | ir.Reduce):
        if node.input_shape and given != tuple(node.input_shape):
            _disagree(name, f"{tuple(node.input_shape)}", given, sources[0])
    elif isinstance(node, ir.Conv):
        conv_output(name, node, given)
    elif isinstance(node, ir.Input):
        raise UsageError("ND202", f"edge '{sources[0]}' -> '{name}' ends on an input", help="export the network again")
    elif isinstance(node, ir.Output | ir.IntegerNeuron):
        if given != tuple(node.shape):
            _disagree(name, f"{tuple(node.shape)}", given, sources[0])
    else:
        for parameter in parameters(node):
            try:
                fits = np.broadcast_shapes(parameter.shape, given) == given
            except ValueError:
                fits = False
            if not fits:
                _disagree(name, f"{parameter.shape}", given, sources[0])


def _check_product(name: str, node: ir.Product, sources: list[str], shapes: Mapping[str, Shape]) -> None:
    for side, view in ((node.left, node.left_view), (node.right, node.right_view)):
        if side not in sources:
            raise UsageError(
                "ND202", f"product '{name}': no edge comes from its operand '{side}'", help="add the missing edge"
            )
        if math.prod(shapes[side]) != math.prod(view):
            _disagree(name, f"{tuple(view)}", shapes[side], side)
    extra = [s for s in sources if s not in (node.left, node.right)]
    if extra:
        raise UsageError(
            "ND202", f"product '{name}': edge from '{extra[0]}', which is no operand", help="remove the edge"
        )
    operands, arrow, result = node.subscripts.partition("->")
    letters = operands.split(",")
    sizes: dict[str, int] = {}
    good = bool(arrow) and len(letters) == 2 and set(result) <= set(letters[0] + letters[-1])
    for text, view in zip(letters, (node.left_view, node.right_view), strict=False):
        good = good and len(text) == len(view) and len(set(text)) == len(text)
        for letter, size in zip(text, view, strict=False):
            good = good and sizes.setdefault(letter, size) == size
    if not good:
        raise UsageError(
            "ND202",
            f"product '{name}': '{node.subscripts}' does not contract {node.left_view} with {node.right_view}",
            help="give one letter to each axis of both operands, and equal sizes to equal letters",
        )
    if math.prod(sizes[letter] for letter in result) != math.prod(node.output_shape):
        _disagree(name, f"{tuple(node.output_shape)} out", tuple(sizes[letter] for letter in result))


def _positive(name: str, shape: Shape, given: Shape) -> Shape:
    if any(size < 1 for size in shape):
        raise UsageError(
            "ND202",
            f"node '{name}': an input of shape {given} leaves an output of shape {shape}",
            help="the kernel is larger than the padded input",
        )
    return shape


def _disagree(name: str, takes: str, given: Shape, source: str = "") -> None:
    where = f"'{source}' gives {given}" if source else f"it is given {given}"
    raise UsageError(
        "ND202", f"node '{name}' takes {takes}, but {where}", help="connected nodes must agree on their shape"
    )
