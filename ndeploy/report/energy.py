"""The text of `ndeploy energy`: the verdict, totals, terms, layers, baselines, and what is not in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import GROUPS, EnergyReport
from ndeploy.report import style
from ndeploy.report.energy_page.numbers import NOTHING, full, interval, quantity, share
from ndeploy.report.energy_page.tables import largest
from ndeploy.report.energy_page.verdict import all_in, verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MOST_LAYERS = 16
BAR = 12


def report(found: EnergyReport) -> list[RenderableType]:
    """Everything of the page that a terminal can show; tables leave out what is empty."""
    parts: list[RenderableType] = [
        f"[bold]{style.plain(verdict(found))}[/bold]",
        f"[dim]{style.plain(found.label)}. Prices: {style.plain(found.model_title or found.model)}.[/dim]",
        "",
        style.facts(headline(found)),
    ]
    sources = _numbers(found)
    if found.terms:
        parts += ["", _terms(found, sources)]
        parts += [style.plain(f"[{number}] {source}") for source, number in sources.items()]
    if found.layers:
        parts += ["", _layers(found)]
    if found.baselines:
        parts += ["", _baselines(found)]
    for title, lines in (
        ("without a price or a time", found.unpriced),
        ("held by another price", tuple(f"{t.name}: in the price of {t.covered}" for t in found.terms if t.covered)),
        ("not modelled", found.not_modelled),
    ):
        if lines:
            parts.append(f"\n[bold]{title}[/bold]")
            parts += [style.plain(f"- {line}") for line in lines]
    return parts


def headline(found: EnergyReport) -> dict[str, str]:
    """Sums with their bounds, time, cores and accuracy, as pairs."""
    whole = all_in(found)
    said = {
        "a sample": f"mean of {found.samples}, {found.model_steps} model steps, {found.chip_steps} chip steps",
        "energy, all in" if whole else "dynamic energy": _total(found),
        "static energy": "in it already" if whole else _or_unknown(found.static),
        "host energy": _or_unknown(found.host),
        "all three": _or_unknown(found.total),
        "latency": full(found.latency, "s") if found.latency is not None else "not known",
    }
    if found.interval is not None and found.interval.nominal > 0:
        said["throughput"] = f"{quantity(1 / found.interval.nominal)} samples/s, {found.mode}"
    if found.cores:
        bound = found.placement.get("cores_lower_bound")
        said["cores"] = f"{len(found.cores)}" + (f", lower bound {bound}" if isinstance(bound, int) and bound else "")
    if found.accuracy is not None:
        said["accuracy"] = style.percent(found.accuracy)
    return said


def _or_unknown(energy: Range | None) -> str:
    return "not known" if energy is None else full(energy, "J")


def _total(found: EnergyReport) -> str:
    if found.energy is not None:
        return full(found.energy, "J")
    if found.bound is not None:
        return f"at least {full(found.bound, 'J')}: the sum of what has a price"
    if any(term.energy is not None for term in found.terms if term.group == "chip"):
        return "no total: an event has no price (--allow-unpriced prints the sum of the others)"
    return "no public prices: not estimated"


def _numbers(found: EnergyReport) -> dict[str, int]:
    """Sources in the order of the terms, numbered from 1; those of baselines last."""
    named = [term.source for term in found.terms if term.source] + [b.source for b in found.baselines if b.source]
    return {source: number for number, source in enumerate(dict.fromkeys(named), 1)}


def _terms(found: EnergyReport, sources: dict[str, int]) -> Table:
    whole = (found.energy or found.bound or ZERO).nominal
    title = "energy by term, a sample"
    table = style.grid(title, "", "event", ">count", ">one", ">energy", ">low to high", ">share", "", "source")
    for group in GROUPS:
        terms = [term for term in found.terms if term.group == group]
        terms.sort(key=lambda term: (term.energy is None, -(term.energy or ZERO).nominal, term.name))
        for term in terms:
            energy = term.energy
            unit = "W" if group == "static" else "J"
            shown = "covered" if term.covered else quantity(energy.nominal, "J") if energy else "no price"
            part = energy.nominal / whole if energy and group == "chip" and whole > 0 else 0.0
            table.add_row(
                group if term is terms[0] else "",
                style.plain(term.name),
                quantity(term.count),
                quantity(term.unit_energy.nominal, unit) if term.unit_energy and not term.covered else "",
                shown,
                interval(energy, "J") if energy and not term.covered else "",
                share(energy.nominal, whole) if energy and group == "chip" and whole > 0 else "",
                f"[cyan]{style.bar(part, BAR)}[/cyan]",
                style.plain(f"{term.status} [{sources[term.source]}]") if term.source else "",
            )
    return table


def _layers(found: EnergyReport) -> Table:
    shown, rest = largest(found.layers, lambda layer: (layer.energy or ZERO).nominal, MOST_LAYERS)
    whole = (found.energy or found.bound or ZERO).nominal
    table = style.grid(
        "energy by layer, a sample", "layer", ">neurons", ">cores", ">rate", ">energy", ">low to high", ">share", ""
    )
    for layer in shown:
        nominal = (layer.energy or ZERO).nominal
        table.add_row(
            style.plain(layer.name),
            quantity(layer.neurons),
            str(layer.cores) if layer.cores else NOTHING,
            share(layer.rate, 1.0),
            *_energy(layer.energy),
            share(nominal, whole) if layer.energy else "",
            f"[green]{style.bar(nominal / whole if whole > 0 else 0.0, BAR)}[/green]",
        )
    if rest:
        known = [layer.energy for layer in rest if layer.energy is not None]
        together = sum(known, ZERO) if len(known) == len(rest) else None
        neurons = quantity(sum(layer.neurons for layer in rest))
        part = share(together.nominal, whole) if together else ""
        table.add_row(f"{len(rest)} others", neurons, "", "", *_energy(together), part, "", style="dim")
    return table


def _energy(found: Range | None) -> tuple[str, str]:
    return ("no price", "") if found is None else (quantity(found.nominal, "J"), interval(found, "J"))


def _baselines(found: EnergyReport) -> Table:
    table = style.grid(
        "the same network by rules for both", "rules", "network", ">MACs", ">ACs", ">energy", ">low to high"
    )
    for rules in dict.fromkeys(b.rules for b in found.baselines):
        for number, b in enumerate(b for b in found.baselines if b.rules == rules):
            numbers = (quantity(b.macs), quantity(b.acs))
            table.add_row("" if number else style.plain(rules), style.plain(b.name), *numbers, *_energy(b.energy))
    return table
