"""`ndeploy inspect`: what is in a model file or an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, options

if TYPE_CHECKING:
    from ndeploy.artifact import Artifact
    from ndeploy.ir.network import Network
    from ndeploy.ir.program import Program


def inspect_command(
    path: Annotated[Path, typer.Argument(metavar="MODEL|ARTIFACT", help="A trained network, or a compiled one.")],
    set_: options.Set = None,
    json: options.Json = False,
) -> None:
    """Show a trained network (nodes, edges, settings) or an artifact (populations, projections, placement)."""
    from ndeploy import artifact as artifacts

    given = options.settings(set_)
    if artifacts.is_artifact(path):
        if given:
            raise typer.BadParameter("an artifact's settings are fixed", param_hint="--set")
        loaded = artifacts.load(path)
        if json:
            console.emit("inspect", artifact_fields(loaded))
        else:
            from ndeploy.report.artifact import report

            console.show(*report(loaded))
        return
    network = _network(path, given)
    if json:
        console.emit("inspect", network_fields(network))
    else:
        from ndeploy.report.network import report as network_report

        console.show(*network_report(network))


def _network(path: Path, given: dict[str, str]) -> Network:
    from ndeploy import plugins
    from ndeploy.errors import UsageError
    from ndeploy.settings import Settings

    with console.progress("reading"):
        converter, contents = plugins.recognise(path)
        settings = Settings(given)
        network = converter.load(path, contents, settings)
    unused = settings.unused()
    if unused:
        raise UsageError(
            "ND205",
            f"{', '.join(unused)}: not read for {converter.family}",
            help=f"settings it reads: {', '.join(settings.record) or 'none'}",
        )
    return network


def network_fields(network: Network) -> dict[str, Any]:
    """The object of `--json` for a model."""
    return {
        "kind": "network",
        "name": network.name,
        "family": network.family,
        "steps": network.steps,
        "decode": network.decode,
        "settings": {key: dict(entry) for key, entry in network.settings.items()},
        "nodes": [{"name": name, "type": type(node).__name__} for name, node in network.nodes.items()],
        "edges": [list(edge) for edge in network.edges],
    }


def artifact_fields(artifact: Artifact) -> dict[str, Any]:
    """The object of `--json` for an artifact."""
    from ndeploy.summary import summarise

    program, summary = artifact.program, summarise(artifact.program)
    return {
        "kind": "artifact",
        "name": program.name,
        "steps": program.steps,
        "period": program.period,
        "mode": program.mode,
        "chip_steps_per_sample": program.chip_steps_per_sample,
        "schedule": schedule_fields(program),
        "neurons": summary.neurons,
        "synapses": summary.synapses,
        "parameters": summary.parameters,
        "weight_bits_mean": summary.weight_bits_mean,
        "weight_memory_bytes": summary.weight_memory_bytes,
        "populations": [
            {
                "name": p.name,
                "neuron": p.neuron.kind,
                "shape": list(p.shape),
                "offset": p.offset,
                "updates": p.updates,
                "ports": list(p.neuron.ports),
                "embedded": p.neuron.embedded,
                "message_bits": p.neuron.message.bits,
                "message_signed": p.neuron.message.signed,
                "state": list(p.neuron.state),
                "origin": p.origin,
            }
            for p in program.populations
        ],
        "projections": _projections(program),
        "products": [
            {
                "name": p.name,
                "left": p.left,
                "right": p.right,
                "target": p.target,
                "subscripts": p.subscripts,
                "realisation": p.realisation,
                "delay": p.delay,
            }
            for p in program.products
        ],
        "placement": dict(artifact.placement),
        "meta": dict(artifact.meta),
        "has_network": artifact.network is not None,
    }


def schedule_fields(program: Program) -> dict[str, Any]:
    """What a tick takes and why; the offsets stand with the populations."""
    from ndeploy.tick_time import tick_time

    time = tick_time(program)
    loop = time.loop
    return {
        "period": time.period,
        "latency": program.latency,
        "longest_loop": None
        if loop is None
        else {
            "populations": list(loop.populations),
            "chip_steps": loop.chip_steps,
            "model_steps": loop.model_steps,
            "products": [hop.product for hop in loop.hops if hop.product],
        },
        "words": time.words(),
    }


def _projections(program: Program) -> list[dict[str, Any]]:
    return [
        {
            "name": p.name,
            "source": p.source,
            "target": p.target,
            "port": p.port,
            "synapses": p.synapses.kind,
            "count": p.synapses.count(),
            "parameters": int(p.synapses.weight.size),
            "weight_bits": p.weight_bits,
            "sign": p.sign,
            "exponent": p.exponent,
            "delay": p.delay,
        }
        for p in program.projections
    ]
