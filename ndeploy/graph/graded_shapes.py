"""Graded nodes: the shape each puts out, what is wrong with one by itself, and what may arrive at it.

Graded nodes are Activation, Gate, LayerNorm, Softmax, Register, Trace and Synchronisation. Files and converters make
them; both are checked here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.ir import network as ir

Shape = tuple[int, ...]
Graded = ir.Activation | ir.Gate | ir.LayerNorm | ir.Softmax | ir.Register | ir.Trace | ir.Synchronisation
GRADED = (ir.Activation, ir.Gate, ir.LayerNorm, ir.Softmax, ir.Register, ir.Trace, ir.Synchronisation)


def graded_output(node: Graded) -> Shape:
    """The output shape, which the node's own fields give."""
    if isinstance(node, ir.Register | ir.Trace):
        return tuple(node.start.shape)
    if isinstance(node, ir.Synchronisation):
        return tuple(node.left.shape)
    return tuple(node.shape)


def graded_input(node: Graded) -> Shape | None:
    """The shape of what enters the node; None for a Synchronisation, which takes any number of values."""
    if isinstance(node, ir.Trace):
        return tuple(node.start.shape[:-1])
    return None if isinstance(node, ir.Synchronisation) else graded_output(node)


def fault(node: Graded) -> tuple[str, str] | None:
    """(field, what is wrong with it) where the node makes no sense by itself, whatever is connected to it."""
    if isinstance(node, ir.Activation):
        if node.function not in ir.ACTIVATIONS:
            return "function", f"is '{node.function}', must be one of {', '.join(ir.ACTIVATIONS)}"
        return None
    if isinstance(node, ir.Gate):
        return _gate_fault(node)
    if isinstance(node, ir.LayerNorm):
        return _norm_fault(node)
    if isinstance(node, ir.Softmax):
        return None if node.shape else ("shape", "is (), must have an axis to normalise over")
    if isinstance(node, ir.Synchronisation):
        return _synchronisation_fault(node)
    if isinstance(node, ir.Trace) and (node.start.ndim != 2 or 0 in node.start.shape):
        return "start", f"has shape {node.start.shape}, must be (neurons, steps remembered)"
    return None if np.isfinite(node.start).all() else ("start", "is not finite everywhere")


def check_graded(name: str, node: Graded, sources: Sequence[str], shapes: Mapping[str, Shape]) -> None:
    """Raises UsageError ND202 for a node that makes no sense or at which something else arrives than it takes."""
    found = fault(node)
    if found is not None:
        raise _inconsistent(name, f"its field '{found[0]}' {found[1]}", "export or convert the network again")
    if isinstance(node, ir.Gate):
        _check_operands(name, node, sources)
    for source in sources:
        given, takes = tuple(shapes[source]), graded_input(node)
        # a layer norm views its input anyway; what several sources give must still be of one shape to be summed
        reshapes = isinstance(node, ir.LayerNorm) and math.prod(given) == math.prod(node.shape)
        reshapes = reshapes and given == shapes[sources[0]]
        if takes is not None and given != takes and not reshapes:
            raise _inconsistent(name, f"it takes {takes}, but '{source}' gives {given}", "connect nodes of one shape")
        if isinstance(node, ir.Synchronisation):
            last = int(max(node.left.max(), node.right.max()))
            if last >= math.prod(given):
                what = f"it pairs neuron {last}, but '{source}' gives {given}, {math.prod(given)} values"
                raise _inconsistent(name, what, "neurons are counted from 0; convert the network again")


def _check_operands(name: str, node: ir.Gate, sources: Sequence[str]) -> None:
    operands = (*node.value, *node.gate)
    for operand in operands:
        if operand not in sources:
            raise _inconsistent(name, f"no edge comes from its operand '{operand}'", "add the missing edge")
    for source in sources:
        if source not in operands:
            raise _inconsistent(name, f"edge from '{source}', which is no operand", "remove the edge, or name it")
    if len(sources) != len(operands):
        raise _inconsistent(name, "several edges come from one operand", "keep one edge for each operand")


def _gate_fault(node: ir.Gate) -> tuple[str, str] | None:
    for side, names in (("value", node.value), ("gate", node.gate)):
        if not names:
            return side, "names no node"
        if len(set(names)) != len(names):
            return side, "names a node twice"
    both = set(node.value) & set(node.gate)
    return ("gate", f"names {_quoted(both)}, which is in 'value' too") if both else None


def _norm_fault(node: ir.LayerNorm) -> tuple[str, str] | None:
    if math.prod(node.view) != math.prod(node.shape):
        return "view", f"is {tuple(node.view)}, which does not multiply out to the shape {tuple(node.shape)}"
    if not 0 <= node.axis < len(node.view):
        return "axis", f"is {node.axis}, the view {tuple(node.view)} has the axes 0 to {len(node.view) - 1}"
    for key, value in (("gain", node.gain), ("offset", node.offset)):
        if value.shape != (node.view[node.axis],):
            return key, f"has shape {value.shape}, axis {node.axis} of the view has {node.view[node.axis]} values"
        if not np.isfinite(value).all():
            return key, "is not finite everywhere"
    if not 0 < node.epsilon < math.inf:
        return "epsilon", f"is {node.epsilon}, must be positive"
    return None


def _synchronisation_fault(node: ir.Synchronisation) -> tuple[str, str] | None:
    if node.left.ndim != 1 or not node.left.size:
        return "left", f"has shape {node.left.shape}, must be one index for each pair"
    for key in ("right", "decay", "alpha", "beta"):
        value = getattr(node, key)
        if value.shape != node.left.shape:
            return key, f"has shape {value.shape}, there are {node.left.size} pairs"
        if not np.isfinite(value).all():
            return key, "is not finite everywhere"
    for key in ("left", "right"):
        least = int(getattr(node, key).min())
        if least < 0:
            return key, f"holds {least}, which is no index"
    if not ((node.decay > 0) & (node.decay <= 1)).all():
        worst = float(node.decay.min() if node.decay.min() <= 0 else node.decay.max())
        return "decay", f"holds {worst:g}, must be above 0 and at most 1"
    if (node.beta < 0).any():
        return "beta", f"holds {float(node.beta.min()):g}, must not be negative: its square root is divided by"
    return None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _inconsistent(name: str, what: str, remedy: str) -> UsageError:
    return UsageError("ND202", f"node '{name}': {what}", help=remedy)
