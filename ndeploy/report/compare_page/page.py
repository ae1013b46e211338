"""A comparison as one self-contained page: verdict, causes, layers, rasters, what reproduces it."""

from __future__ import annotations

import json

from markupsafe import Markup

from ndeploy.divergence.ablation import Ablation
from ndeploy.divergence.apart import Apart
from ndeploy.divergence.compare import Comparison
from ndeploy.report import compare as text
from ndeploy.report import style
from ndeploy.report.compare_page.pictures import STYLE, bar, pictures, sqnr
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.side_page import Section, document, items, table

STEPS = 512
"""Columns of a picture of SQNR by step."""


def page(found: Comparison) -> str:
    """The page. Names come from artifacts: they are escaped."""
    sections = [Section("In numbers", items([f"{name}: {value}" for name, value in text.facts(found).items()]))]
    if found.named is not None:
        sections.append(
            Section(
                "What to mend",
                items([f"{name}: {said}".strip(": ") for name, said in text.remedy(found.named).items()]),
            )
        )
    if found.mistakes is not None and found.mistakes.shares:
        sections.append(Section("Beside a compile of today", _causes(found.mistakes)))
    if found.apart is not None:
        sections.append(Section("Causes", _apart(found, found.apart)))
    elif found.ablation is not None and found.ablation.shares:
        sections.append(Section("Causes", _causes(found.ablation)))
    elif found.no_ablation:
        sections.append(Section("Causes", items([f"No cause is named: {found.no_ablation}"])))
    if found.notes:
        sections.append(Section("Notes", items(found.notes)))
    sections.append(Section("Layers", _layers(found)))
    if found.rasters:
        sections.append(Section(f"Messages of sample {found.rasters[0].sample}", pictures(found.rasters, found.first)))
    sections.append(Section("Reproduce", _reproduce(found)))
    under = f"The program beside {found.against}: {style.many(found.samples, 'sample')}"
    made = document("Comparison of two executions", under, text.verdict(found), sections, _FOOT)
    return made.replace("</style>", f"{STYLE}</style>", 1)


_FOOT = (
    "SQNR: power of the reference over the power of the difference, in dB. Distance: of the messages with a fading "
    "memory, 0 equal to 1 nothing in common, the mean over layers. docs/compare.md says how causes are told apart."
)


def _causes(ablation: Ablation) -> Markup:
    columns = (
        Column("cause", "name"),
        Column("explains", "bar"),
        Column("share"),
        Column("distance, mended"),
        Column("distance, alone"),
        Column("answers alike, mended"),
        Column("what it is", "text"),
    )
    rows = [
        Row(("as it is", Markup(""), "", text.distance(ablation.program), "", text.alike(ablation.program), ""), "part")
    ]
    for s in ablation.shares:
        what = s.title + ("; more than rounding" if s.beyond else "")
        rows.append(
            Row(
                (
                    s.cause,
                    bar(s.share),
                    style.percent(s.share),
                    text.distance(s.mended),
                    text.distance(s.alone),
                    text.alike(s.mended),
                    what,
                )
            )
        )
    note = f"{style.many(ablation.samples, 'sample')}, each run once for every cause mended and once for it alone."
    return table(Table("Causes and what they explain", columns, tuple(rows), note=note))


def _apart(found: Comparison, apart: Apart) -> Markup:
    columns = (Column("cause", "name"), Column("the program"), Column(found.against), Column("gap"))
    own, theirs = apart.distances
    rows = [Row(("all", f"{own:.3g}", f"{theirs:.3g}", f"{own - theirs:+.3g}"), "part")]
    rows += [Row((r.cause, f"{r.program:.3g}", f"{r.reference:.3g}", f"{r.gap:+.3g}")) for r in apart.rows]
    many = style.many(apart.program.samples, "sample")
    note = f"Distance from its own float network that a cause explains in each; {many}."
    return table(Table("Each beside its float network", columns, tuple(rows), note=note))


def _layers(found: Comparison) -> Markup:
    kept = text.columns(found)
    heads = (Column(text.HEADS[i]) for i in kept)
    columns = (Column("layer", "name"), *heads, Column("SQNR by model step", "bar"))
    rows = tuple(
        Row((layer.name, *(text.cells(layer)[i] for i in kept), sqnr(layer.by_step[:STEPS])))
        for layer in text.chosen(found)
    )
    left = len(found.layers) - len(rows)
    note = f"{style.many(left, 'layer')} closer to the reference not shown." if left else ""
    return table(Table("Layers", columns, rows, note=note))


def _reproduce(found: Comparison) -> Markup:
    if not found.provenance:
        return Markup("")
    return Markup("<pre>{}</pre>\n").format(json.dumps(dict(found.provenance), indent=2))
