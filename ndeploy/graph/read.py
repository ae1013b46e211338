"""NIR files to Networks: an own HDF5 reader with own shape inference.

It reads what `nir.read` reads and what that wrongly refuses: published subgraphs, grouped and non-square
convolutions, parameters with fewer axes than their neuron.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import lambertw

from ndeploy.errors import UsageError
from ndeploy.graph import names, shapes
from ndeploy.graph.extensions import is_extension, read_extension, read_extras, read_graph_metadata, read_semantics
from ndeploy.graph.fields import Fields, check_size
from ndeploy.graph.hdf5 import Tree, read_tree
from ndeploy.graph.read_nodes import READERS
from ndeploy.graph.unnest import unnest
from ndeploy.ir import network as ir
from ndeploy.settings import Settings

Edge = tuple[str, str]
DECODES = ("sum", "last", "max", "none", "most-certain", "ctc")


def read_nir(source: Path | bytes, settings: Settings | None = None) -> ir.Network:
    """The network in a NIR file (or its bytes): shapes inferred and checked, parameters broadcast to their neuron's.

    settings: answers what NIR leaves open (dt, integrator, reset, ...; steps); what a file of ndeploy states itself
    comes next. Raises UsageError ND101 (no file), ND110 (no HDF5), ND111 (hostile content), ND112 (bad fields),
    ND113 (unknown node type), ND202 (shapes), ND304 (not finite), and RefusedError ND201.
    """
    settings = settings if settings is not None else Settings()
    file = read_tree(source)
    path = source if isinstance(source, Path) else Path("network")
    tree = file.get("node")
    if not isinstance(tree, dict) or "type" not in tree:
        raise UsageError(
            "ND112", f"'{path}' has no graph at /node", help="is this a NIR file? Export it with nir.write"
        )
    stated = read_graph_metadata(tree)
    raw, edges, notes = unnest(tree)
    if stated is not None:
        raw, edges = _original_names(raw, edges, stated)
    nodes, ignored = _nodes(raw)
    if stated is None:
        nodes, edges = _with_ends(nodes, edges, raw)
    network = ir.Network(name=path.stem, nodes=nodes, edges=tuple(edges))
    network = _settle(network)
    version = file.get("version")
    return _with_settings(network, settings, stated, version if isinstance(version, str) else "", notes + ignored)


def _nodes(raw: Mapping[str, Tree]) -> tuple[dict[str, ir.Node], tuple[str, ...]]:
    """Nodes by name, and the fields that no reader asked for."""
    nodes: dict[str, ir.Node] = {}
    ignored: list[str] = []
    for name, tree in raw.items():
        f = Fields(name, tree)
        if is_extension(f.kind):
            nodes[name] = read_extras(read_extension(f), f)
        elif f.kind in READERS:
            nodes[name] = read_extras(READERS[f.kind](f), f)
        else:
            raise UsageError(
                "ND113",
                f"node '{name}' has the type '{f.kind}', which is no NIR node",
                help=f"known types: NIRGraph, {', '.join(READERS)}",
            )
        ignored += [f"node '{name}': field '{key}' ignored" for key in f.unread() if key not in ("shape", "input_type")]
    return nodes, tuple(ignored)


def _original_names(
    raw: Mapping[str, Tree], edges: list[Edge], stated: Mapping[str, Any]
) -> tuple[dict[str, Tree], list[Edge]]:
    """Names and order of nodes as they were when ndeploy wrote the file (HDF5 sorts its keys)."""
    try:
        decoded = {names.decode(key): node for key, node in raw.items()}
        order = [name for name in stated["nodes"] if isinstance(name, str)]
        ordered = {name: decoded[name] for name in order}
        renamed = [(names.decode(a), names.decode(b)) for a, b in edges]
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(
            "ND112", f"the graph's metadata and its nodes disagree: {error}", help="write the file again"
        ) from error
    if len(ordered) != len(decoded):
        raise UsageError("ND112", "the graph's metadata and its nodes disagree", help="write the file again")
    return ordered, renamed


def _with_ends(
    nodes: dict[str, ir.Node], edges: list[Edge], raw: Mapping[str, Tree]
) -> tuple[dict[str, ir.Node], list[Edge]]:
    """Input and Output nodes where the file leaves them out, as `nir.NIRGraph.infer_types` adds them.

    A file with neither an Input nor a node that nothing leads to has no entry: ND202.
    """
    targets, sources = {b for _, b in edges}, {a for a, _ in edges}
    result, more = dict(nodes), list(edges)
    for name, node in nodes.items():
        if name not in targets and not isinstance(node, ir.Input):
            end = _fresh(f"input_{name}", result)
            result[end] = ir.Input(_entry_shape(name, node, raw[name]))
            more.append((end, name))
    if not any(isinstance(node, ir.Input) for node in result.values()):
        raise UsageError(
            "ND202", "the graph has no Input node, and every node is inside a loop", help="add an Input node"
        )
    network = ir.Network(name="", nodes=result, edges=tuple(more))
    known: Mapping[str, tuple[int, ...]] | None = None
    for name, node in nodes.items():
        if name not in sources and not isinstance(node, ir.Output):
            known = known if known is not None else shapes.infer(network)
            end = _fresh(f"output_{name}", result)
            result[end] = ir.Output(known[name])
            more.append((name, end))
    return result, more


def _fresh(name: str, taken: Mapping[str, object]) -> str:
    candidate, i = name, 0
    while candidate in taken:
        candidate, i = f"{name}_{i}", i + 1
    return candidate


def _entry_shape(name: str, node: ir.Node, raw: Tree) -> tuple[int, ...]:
    """The input shape that a node's own parameters give."""
    if isinstance(node, ir.Linear):
        return (node.weight.shape[1],)
    if isinstance(node, ir.Conv) and "input_shape" in raw:
        spatial = Fields(name, raw).shape("input_shape")
        return (node.weight.shape[1] * node.groups, *shapes.spread(spatial, node.weight.ndim - 2))
    if isinstance(node, ir.Flatten | ir.Reduce) and node.input_shape:
        return tuple(node.input_shape)
    own = shapes.own_shape(node)
    if own:
        return own
    raise UsageError(
        "ND202",
        f"nothing leads to node '{name}', and its own fields do not give the shape of its input",
        help="add an Input node that states the shape",
    )


def _settle(network: ir.Network) -> ir.Network:
    """Shapes checked, and everything that was waiting for them filled in."""
    found = {
        name: replace(node, shape=_declared(network, name, node)) if isinstance(node, ir.Output) else node
        for name, node in network.nodes.items()
    }
    network = replace(network, nodes=found)
    known = shapes.infer(network)
    for name, shape in known.items():
        check_size(name, shape)
    settled: dict[str, ir.Node] = {}
    for name, node in network.nodes.items():
        if isinstance(node, ir.Flatten) and not node.input_shape:
            node = replace(node, input_shape=shapes.input_shape(network, name, known))
        elif shapes.parameters(node):
            changes = {
                field.name: np.broadcast_to(value, known[name]).copy()
                for field in fields(node)
                if isinstance(value := getattr(node, field.name), np.ndarray)
            }
            node = replace(node, **changes)
        settled[name] = node
    return replace(network, nodes=settled)


def _declared(network: ir.Network, name: str, node: ir.Output) -> tuple[int, ...]:
    """The shape of an Output: what arrives, where a tool declared the same number of values in another shape."""
    without = replace(network, nodes={**network.nodes, name: ir.Scale(np.ones(()))})
    others = {n: ir.Scale(np.ones(())) for n, o in network.nodes.items() if isinstance(o, ir.Output)}
    arriving = network.sources(name)
    if not arriving:
        return node.shape
    shape = shapes.infer(replace(without, nodes={**without.nodes, **others}))[arriving[0]]
    return shape if math.prod(shape) == math.prod(node.shape) else node.shape


def _with_settings(
    network: ir.Network, settings: Settings, stated: Mapping[str, Any] | None, version: str, notes: tuple[str, ...]
) -> ir.Network:
    """The network with everything NIR leaves open, and the record of where each answer came from."""
    if stated is None:
        derived: dict[str, Any] = {}
        origin = "file"
        if settings.source == "rockpool":
            derived, origin = _rockpool_dt(network), "file, from r as Rockpool writes it"
        semantics = settings.semantics(derived, origin)
        steps = settings.get("steps", int, None, "data")
        decode = settings.get("decode", DECODES, "sum")
        recorded = settings.record
        if version:
            recorded["nir_version"] = {"value": version, "from": "file"}
        if notes:
            recorded["nir_notes"] = {"value": list(notes), "from": "file"}
    else:
        base = read_semantics(stated.get("semantics"), "the graph")
        semantics = settings.semantics({f.name: getattr(base, f.name) for f in fields(base)})
        steps = settings.get("steps", int, stated.get("steps"), "file")
        decode = settings.get("decode", DECODES, stated.get("decode", "sum"), "file")
        earlier = stated.get("settings")
        if not isinstance(earlier, dict):
            raise UsageError("ND112", "the graph's metadata hold no settings", help="write the file again")
        # origins recorded when the file was written stay; only what is asked for now replaces them
        recorded = {**earlier, **{k: e for k, e in settings.record.items() if e["from"] not in ("file", "default")}}
    if steps is not None and steps < 1:
        raise UsageError("ND205", f"steps is {steps}; a sample takes at least one model step", help="give 1 or more")
    return replace(
        network,
        name=network.name if stated is None else str(stated.get("name", network.name)),
        semantics=semantics,
        steps=steps,
        decode=decode,
        answer=() if stated is None else _answer(network, stated.get("answer", [])),
        settings=recorded,
        family="nir" if stated is None else str(stated.get("family", "nir")),
    )


def _answer(network: ir.Network, stated: Any) -> tuple[int, ...]:
    """The shape in which the output is read. Raises UsageError ND112 where it is none of the first output's values."""
    if isinstance(stated, list) and all(type(n) is int and n > 0 for n in stated):
        outputs = [node for node in network.nodes.values() if isinstance(node, ir.Output)]
        if not stated or (outputs and math.prod(stated) == math.prod(outputs[0].shape)):
            return tuple(stated)
    raise UsageError(
        "ND112", f"the graph's metadata read the output as {stated!r}, which it is not", help="write the file again"
    )


def _rockpool_dt(network: ir.Network) -> dict[str, Any]:
    """The time step Rockpool exported with, which is only in r (rockpool/nn/modules/torch/nir.py).

    Export writes r = tau exp(-dt / tau) / dt, so dt = tau W(1 / r) with Lambert's W. Where the neurons disagree the
    file was not written that way, and Rockpool's own import rule holds: min(tau / (1 + r)).
    """
    pairs = [(node.tau, node.r) for node in network.nodes.values() if isinstance(node, ir.LI | ir.LIF)]
    pairs += [(node.tau_mem, node.r) for node in network.nodes.values() if isinstance(node, ir.CubaLIF)]
    if not pairs:
        return {}
    tau, r = (np.concatenate([np.ravel(pair[i]) for pair in pairs]) for i in (0, 1))
    if (r <= 0).any():
        return {}
    exact = tau * lambertw(1.0 / r).real
    # float32 in the file leaves about six digits
    agree = np.ptp(exact) <= 1e-4 * exact.min()
    return {"dt": float(f"{np.median(exact):.6g}" if agree else (tau / (1 + r)).min())}
