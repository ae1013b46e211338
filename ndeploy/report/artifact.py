"""The text of `ndeploy inspect ARTIFACT`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndeploy.artifact import Artifact
from ndeploy.ir.program import Program
from ndeploy.neurons import Input, Message
from ndeploy.report import layers, style
from ndeploy.report.compiled import coding
from ndeploy.summary import summarise
from ndeploy.tick_time import tick_time

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def report(artifact: Artifact) -> list[RenderableType]:
    """The program's size, populations, projections, products, placement, settings and provenance."""
    program, summary = artifact.program, summarise(artifact.program)
    facts = {
        "program": program.name,
        "target": str(artifact.meta.get("target", "-")),
        "time": f"{style.many(program.steps, 'model step')} of {style.many(program.period, 'chip step')}, "
        f"{program.mode}: {style.many(program.chip_steps_per_sample, 'chip step')} a sample",
        "size": f"{style.si(summary.neurons)} neurons, {style.si(summary.synapses)} synapses, "
        f"{style.si(summary.parameters)} trained weights of {summary.weight_bits_mean:.2f} bits "
        f"({style.size_in_bytes(summary.weight_memory_bytes)})",
        "source": _source(artifact.meta.get("source", {})),
    }
    facts |= coding(artifact.meta.get("coding"))
    facts |= _trained(artifact.meta.get("finetune"), artifact.meta.get("options"))
    parts: list[RenderableType] = [style.facts(facts), "", populations(program), projections(program)]
    if program.products:
        parts.append(products(program))
    parts += [schedule(program), style.plain(tick_time(program).words()), ""]
    if artifact.placement:
        plain = {
            key.removesuffix("_bytes").replace("_", " "): style.size_in_bytes(value)
            if key.endswith("_bytes")
            else str(value)
            for key, value in artifact.placement.items()
            if not isinstance(value, dict | list)
        }
        parts += ["[bold]placement[/bold]", style.facts(plain)]
    settings = artifact.meta.get("settings", {})
    if settings:
        parts += ["", style.settings(settings)]
    found = layers.report(artifact.meta.get("quantisation"))
    return [*parts, "", *found] if found else parts


def _source(source: Mapping[str, Any]) -> str:
    return f"{source['name']} (sha256 {source['sha256'][:16]}...)" if "sha256" in source else "-"


def _trained(data: object, options: object) -> dict[str, str]:
    """The line on fine-tuning, none where there was none; both as the artifact keeps them."""
    if not isinstance(data, Mapping) or not isinstance(options, Mapping):
        return {}
    on = f"{options.get('epochs', '?')} epochs on {data.get('name', '?')}"
    return {"fine-tuned": f"{on}; reasons of layers, if there are any, are those of the search before"}


def populations(program: Program) -> Table:
    """A row a population."""

    table = style.grid("populations", "name", "neuron", "shape", ">neurons", ">offset", "sends", "state", "from")
    for p in program.populations:
        table.add_row(
            style.plain(p.name),
            p.neuron.kind,
            style.shape(p.shape),
            str(p.size),
            str(p.offset),
            message(p.neuron.message),
            " ".join(p.neuron.state),
            style.plain(p.origin),
        )
    return table


def schedule(program: Program) -> Table:
    """A row a population, in the order in which they update within a tick."""
    table = style.grid(
        "schedule of a tick", ">chip step", "population", "neuron", ">updates", "ports", "sends", "computed on"
    )
    for p in sorted(program.populations, key=lambda p: p.offset):
        host = isinstance(p.neuron, Input)
        table.add_row(
            str(p.offset),
            style.plain(p.name),
            p.neuron.kind,
            str(p.updates) if p.updates is not None else "every tick",
            " ".join(p.neuron.ports),
            message(p.neuron.message),
            "host" if host else "embedded processor" if p.neuron.embedded else "neurocores",
        )
    return table


def message(sent: Message) -> str:
    """What a neuron sends, in words."""
    if sent.bits == 0:
        return "nothing"
    if sent.bits == 1 and not sent.signed:
        return "spikes"
    return f"{sent.bits} bits{', signed' if sent.signed else ''}"


def projections(program: Program) -> Table:
    """A row a projection."""

    table = style.grid(
        "projections", "from", "to", "synapses", ">count", ">weights", ">bits", "sign", ">exponent", ">delay"
    )
    for p in program.projections:
        port = "" if p.port == "in" else f".{p.port}"
        table.add_row(
            style.plain(p.source),
            style.plain(p.target + port),
            p.synapses.kind,
            str(p.synapses.count()),
            str(p.synapses.weight.size),
            str(p.weight_bits),
            p.sign,
            str(p.exponent),
            str(p.delay) + ("+" if p.delays is not None else ""),
        )
    return table


def products(program: Program) -> Table:
    """A row a product, with what its realisation costs."""

    from ndeploy.realise import realise

    table = style.grid(
        "products", "name", "einsum", "of", "to", "realisation", ">neurons", ">synapses", ">multiplies", ">chip steps"
    )
    for p in program.products:
        cost = realise(p)
        table.add_row(
            style.plain(p.name),
            p.subscripts,
            style.plain(f"{p.left} x {p.right}"),
            style.plain(p.target),
            p.realisation + (f" over {p.stream}" if p.realisation == "streamed" else ""),
            str(cost.neurons),
            str(cost.synapses),
            str(cost.multiplies),
            str(p.delay),
        )
    return table
