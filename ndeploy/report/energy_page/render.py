"""The energy report as one HTML page: no network, no scripts, light and dark, on screens and on paper.

Names in artifacts are hostile: everything is escaped by the template, control characters are spelled out, and the
page's own policy lets a browser load nothing and run nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.report.energy_page import activity, charts, comparisons, frontier, parts, sources
from ndeploy.report.energy_page.bars import axis, bar
from ndeploy.report.energy_page.hostile import printed
from ndeploy.report.energy_page.numbers import full, interval, quantity
from ndeploy.report.energy_page.scale import logarithmic
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.energy_page.verdict import all_in, named, verdict
from ndeploy.report.style import percent

if TYPE_CHECKING:
    from jinja2 import Environment

FORBIDDEN = frozenset({"script", "foreignObject", "image", "iframe", "use", "a", "animate", "set"})
"""Elements that a picture in the page may not have."""


def page(report: EnergyReport, frontier_: Mapping[str, Any] | None = None, placement_svg: str = "") -> str:
    """The page. frontier_: JSON of `ndeploy sweep` or of a frontier; placement_svg: as ndeploy/report/placement.py
    draws it.

    The same arguments give the same text. Raises ValueError where the picture is no SVG of shapes and text alone.
    """
    report, frontier_ = printed(report), printed(frontier_)
    numbered = sources.Sources()
    terms = parts.by_term(report, numbered)
    compared = comparisons.baselines(report, numbered) if report.baselines else None
    front = frontier.read(frontier_, report)
    drawn = front if front is not None and front.points else None
    known = _environment()
    return known.get_template("page.html.j2").render(
        report=report,
        name=named(report),
        verdict=verdict(report),
        figures=figures(report),
        overview=overview(report),
        terms=terms,
        layers=parts.by_layer(report) if report.layers else None,
        cores=parts.by_core(report) if report.cores else None,
        core_order=charts.cores_in_order(report),
        steps=charts.by_step(report.steps, report.energy or report.bound),
        strips=charts.layers_by_step(report),
        activity=activity.table(report) if report.layers else None,
        scatter=frontier.scatter(drawn) if drawn else None,
        points=frontier.table(drawn) if drawn else None,
        front=front,
        placement=comparisons.facts(report.placement),
        picture=picture(placement_svg),
        baselines=compared,
        baseline_notes=comparisons.notes(report.baselines),
        baseline_parts=comparisons.parts(report.baselines),
        neurobench=comparisons.facts(report.neurobench),
        constants=sources.constants(report.terms, numbered),
        covered=sources.covered(report),
        statuses=[(sources.tag(name), meaning) for name, meaning in sources.STATUS_MEANINGS.items()],
        sources=numbered.listed,
        command=str(report.provenance.get("command", "")),
        provenance=comparisons.facts({k: v for k, v in report.provenance.items() if k != "command"}),
    )


def figures(report: EnergyReport) -> tuple[tuple[str, str, str], ...]:
    """Name, value and interval of each headline figure."""
    whole = all_in(report)
    kind = "energy, all in" if whole else "dynamic energy"
    energy = (kind, report.energy) if report.bound is None else (f"{kind}, priced part", report.bound)
    found = [
        _figure(energy[0], energy[1] if report.energy is None else report.energy, "J"),
        ("static energy", "in it already", "") if whole else _figure("static energy", report.static, "J"),
        _figure("host energy", report.host, "J"),
        _figure("all three", report.total, "J"),
        _figure("latency", report.latency, "s"),
    ]
    if report.interval is not None and report.interval.nominal > 0:
        found.append(("throughput", f"{quantity(1 / report.interval.nominal)}/s", f"samples, {report.mode}"))
    if report.cores:
        chips = len({core.chip for core in report.cores if core.chip >= 0})
        where = "" if not chips else f"on {chips} chip" if chips == 1 else f"on {chips} chips"
        found.append(("cores", str(len(report.cores)), where))
    if report.accuracy is not None:
        found.append(("accuracy", percent(report.accuracy), f"of {report.samples} samples"))
    return tuple(found)


def _figure(name: str, found: Range | None, unit: str) -> tuple[str, str, str]:
    if found is None:
        return name, "not known", ""
    return name, quantity(found.nominal, unit), interval(found, unit) if found.low < found.high else ""


def overview(report: EnergyReport) -> Table | None:
    """Dynamic, static and host energy beside each other on one logarithmic axis; None where none is known."""
    named = (
        (
            f"{'all in' if all_in(report) else 'dynamic'}, {'of the chip' if report.energy else 'priced part'}",
            report.energy or report.bound,
            "chip",
        ),
        ("static, power times time", report.static, "static"),
        ("host, messages in and out", report.host, "host"),
        ("all three", report.total, "sum"),
    )
    known = [energy for _, energy, _ in named if energy is not None and energy.nominal > 0]
    if not known:
        return None
    scale = logarithmic(end for energy in known for end in (energy.low, energy.nominal, energy.high))
    rows = tuple(
        Row((name, bar(energy, scale, "J", colour), full(energy, "J") if energy else "not known"))
        for name, energy, colour in named
    )
    columns = (Column("energy a sample", "name"), Column("", "bar"), Column("nominal and interval"))
    return Table("Overview", columns, rows, axis(scale, "J"), "Logarithmic axis: point nominal, line from low to high.")


def picture(svg: str) -> Markup:
    """An SVG as part of the page, without its XML declaration; nothing for "".

    Raises ValueError where it is no SVG, or has elements or attributes that load or run anything.
    """
    if not svg.strip():
        return Markup("")
    if "<!" in svg.replace("<!--", ""):
        raise ValueError("the picture of the placement has a document type")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"the picture of the placement is no XML: {error}") from error
    if _local(root.tag) != "svg":
        raise ValueError(f"the picture of the placement is <{_local(root.tag)}>, not <svg>")
    for element in root.iter():
        name = _local(element.tag) if isinstance(element.tag, str) else ""
        running = [key for key in element.attrib if _local(key).lower().startswith("on") or _local(key) == "href"]
        if name in FORBIDDEN or running:
            raise ValueError(f"the picture of the placement has <{name}> {' '.join(running)}".rstrip())
    return Markup(svg[svg.index("<svg") :])


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    files = resources.files(__package__)
    texts = {name: files.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css")}
    return Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
