"""The placement as a picture (SVG): cores as a map of their use and of their activity, links by what they carry.

One element a core and a link, each with its numbers as a title. Colours follow the reader's scheme; nothing is loaded.
The map is drawn from `EnergyReport.cores` and `.links`; the size of the mesh from `placement["mesh"]`
(`ndeploy.place.mesh.Board` as data) where that stands, else from the cores and links there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from ndeploy.energy.result import CoreCost, EnergyReport, LinkLoad
from ndeploy.printable import printable
from ndeploy.report.energy_page.numbers import full, quantity, share

WIDE = (640.0, 1060.0)
"""Width of a map in pixels, about, of one chip and of several beside each other."""
TILES = (4.0, 21.0)
"""Smallest and largest side of a core in pixels."""
CHIPS = 16
"""Chips that are drawn; the busiest of more."""
ROW = 16
"""Cores beside each other for a target without a mesh."""
NAMED = 4
"""Layers of a core that its title names."""
LETTERS = 48
"""Characters of a layer's name that its title shows."""
LARGEST = 64
"""Routers on a side, and cores of a router, that a mesh is believed to have."""
LINE = 18.0
HEAD = 8.0
SHADES = 10
"""Steps of the legend's ramp."""
FAINTEST = 0.12
"""Opacity of a core in use whose value is zero."""

STYLE = """
.ndeploy-map { --map-paper: #fdfdfc; --map-ink: #24292f; --map-faint: #59636e; --map-rule: #d8dce1;
  --map-use: #1558b0; --map-work: #b35309; --map-link: #6b3fa0; }
@media screen and (prefers-color-scheme: dark) { .ndeploy-map { --map-paper: #0f141b; --map-ink: #e6edf3;
  --map-faint: #9aa4af; --map-rule: #333c47; --map-use: #4f97e8; --map-work: #f0a35e; --map-link: #b48ae6; } }
.ndeploy-map .paper { fill: var(--map-paper); }
.ndeploy-map text { fill: var(--map-ink); font: 13px system-ui, "Liberation Sans", Arial, sans-serif; }
.ndeploy-map .head { font-weight: 600; font-size: 14px; }
.ndeploy-map .small { fill: var(--map-faint); paint-order: stroke; stroke: var(--map-paper); stroke-width: 3px; }
.ndeploy-map .middle { text-anchor: middle; } .ndeploy-map .end { text-anchor: end; }
.ndeploy-map .chip-frame { fill: none; stroke: var(--map-rule); }
.ndeploy-map .empty { fill: none; stroke: var(--map-rule); }
.ndeploy-map .use { fill: var(--map-use); stroke: var(--map-use); stroke-width: 0.8; stroke-opacity: 0.6; }
.ndeploy-map .work { fill: var(--map-work); stroke: var(--map-work); stroke-width: 0.8; stroke-opacity: 0.6; }
.ndeploy-map .link { fill: var(--map-link); }
"""


@dataclass(frozen=True)
class _Sheet:
    """Where things are drawn. width, height: routers of a chip; each: cores of a router; wide: chips in a row; chips:
    those drawn, in their grid; side: of a core; gap, edge: between routers, between chips; meshed: whether routers and
    links are known; held: cores of a chip."""

    width: int
    height: int
    each: int
    wide: int
    chips: tuple[int, ...]
    side: float
    meshed: bool
    held: int

    @property
    def across(self) -> int:
        """Cores beside each other at a router."""
        return math.ceil(math.sqrt(self.each))

    @property
    def block(self) -> float:
        """Side of a router's cores."""
        return self.across * (self.side + 1) - 1

    @property
    def gap(self) -> float:
        """Between routers of a chip."""
        return max(5.0, 0.55 * self.block) if self.meshed else 2.0

    @property
    def edge(self) -> float:
        """Between chips."""
        return max(2 * self.gap + 8, 2 * LINE if len(self.chips) > 1 else 0.0)

    @property
    def chip(self) -> tuple[float, float]:
        """Width and height of a chip."""
        step = self.block + self.gap
        return self.width * step - self.gap, self.height * step - self.gap

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of the first chip drawn."""
        return min(c % self.wide for c in self.chips), min(c // self.wide for c in self.chips)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the map, with half an edge around."""
        columns = max(c % self.wide for c in self.chips) - self.corner[0] + 1
        rows = max(c // self.wide for c in self.chips) - self.corner[1] + 1
        return columns * (self.chip[0] + self.edge), rows * (self.chip[1] + self.edge)

    def chip_at(self, chip: int) -> tuple[float, float]:
        """Upper left corner of a chip."""
        column, row = chip % self.wide - self.corner[0], chip // self.wide - self.corner[1]
        return self.edge / 2 + column * (self.chip[0] + self.edge), self.edge / 2 + row * (self.chip[1] + self.edge)

    def router(self, chip: int, x: int, y: int) -> tuple[float, float]:
        """Upper left corner of a router's cores."""
        left, top = self.chip_at(chip)
        return left + x * (self.block + self.gap), top + y * (self.block + self.gap)

    def tile(self, chip: int, x: int, y: int, within: int) -> tuple[float, float]:
        """Upper left corner of a core."""
        left, top = self.router(chip, x, y)
        row, column = divmod(within, self.across)
        return left + column * (self.side + 1), top + row * (self.side + 1)


@dataclass(frozen=True)
class _Place:
    """A core on the sheet."""

    core: CoreCost
    chip: int
    x: int
    y: int
    within: int


def picture(report: EnergyReport) -> str:
    """The picture of a report's placement; "" where it has no cores. The same report gives the same text."""
    if not report.cores:
        return ""
    sheet, places = _laid_out(report)
    left_out = len({place.chip for place in places}) - len(sheet.chips)
    places = tuple(place for place in places if place.chip in sheet.chips)
    width, height = sheet.size
    width = max(width, 380.0)
    parts: list[str] = []
    y = LINE
    for draw in (_use, _work):
        head, body, legend, lines = draw(report, sheet, places)
        parts.append(_text(0, y, head, "head"))
        parts.append(f'<g transform="translate(0,{y + HEAD:.1f})">{"".join(_frames(sheet))}{"".join(body)}</g>')
        y += HEAD + height
        parts.append(f'<g transform="translate(0,{y:.1f})">{"".join(legend)}</g>')
        y += (lines + 1.6) * LINE
    told = _told(report, sheet, left_out)
    for line in told:
        parts.append(_text(0, y, line, "small"))
        y += LINE
    y -= LINE / 2
    what = escape(f"{_short(report.program)} on {_short(report.target)}: {told[0]}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ndeploy-map" role="img" aria-label="{what}" '
        f'width="{width:.0f}" height="{y:.0f}" viewBox="-4 0 {width + 8:.1f} {y:.1f}">'
        f"<title>{what}</title><style>{STYLE}</style>"
        f'<rect class="paper" x="-4" y="0" width="{width + 8:.1f}" height="{y:.1f}"/>{"".join(parts)}</svg>'
    )


def _told(report: EnergyReport, sheet: _Sheet, left_out: int) -> list[str]:
    """What the picture shows, in sentences."""
    chips = len({core.chip for core in report.cores})
    of = f" of {chips * sheet.held}" if sheet.held else ""
    told = [f"{len(report.cores)}{of} cores in use on {chips} chip{'s' if chips > 1 else ''}"]
    if left_out > 0:
        told.append(f"the busiest {len(sheet.chips)} chips are drawn, {left_out} are not")
    if not sheet.meshed:
        told.append("cores in the order of their numbers: the target's mesh is not known")
    return told


def _laid_out(report: EnergyReport) -> tuple[_Sheet, tuple[_Place, ...]]:
    mesh = _mesh(report.placement)
    meshed = all(core.x >= 0 and core.y >= 0 for core in report.cores)
    places = tuple(_places(report.cores, mesh, meshed))
    links = report.links if meshed else ()
    width = max([place.x + 1 for place in places] + [link.x + 1 for link in links] + [mesh.get("width", 1)])
    height = max([place.y + 1 for place in places] + [link.y + 1 for link in links] + [mesh.get("height", 1)])
    each = max(place.within for place in places) + 1
    if meshed:
        each = max(each, mesh.get("cores_per_router", 1))
    work: dict[int, float] = {}
    for place in places:
        work[place.chip] = work.get(place.chip, 0.0) + _events(place.core)
    chips = tuple(sorted(sorted(work, key=lambda chip: (-work[chip], chip))[:CHIPS]))
    wide = mesh.get("chips_wide", 0) or math.ceil(math.sqrt(max(work) + 1))
    columns = len({chip % wide for chip in chips})
    tile = WIDE[columns > 1] / (columns * width) / math.ceil(math.sqrt(each)) / (1.55 if meshed else 1.1)
    side = round(min(max(tile, TILES[0]), TILES[1]), 1)
    return _Sheet(width, height, each, wide, chips, side, meshed, mesh.get("cores_per_chip", 0)), places


def _places(cores: tuple[CoreCost, ...], mesh: Mapping[str, int], meshed: bool) -> Iterator[_Place]:
    if not meshed:
        for i, core in enumerate(sorted(cores, key=lambda core: core.core)):
            yield _Place(core, 0, i % ROW, i // ROW, 0)
        return
    seen: dict[tuple[int, int, int], int] = {}
    each, per_chip = mesh.get("cores_per_router", 0), mesh.get("cores_per_chip", 0)
    for core in sorted(cores, key=lambda core: core.core):
        at = core.chip, core.x, core.y
        within = core.core % per_chip % each if each and per_chip else seen.get(at, 0)
        seen[at] = seen.get(at, 0) + 1
        yield _Place(core, *at, within)


def _mesh(placement: Mapping[str, Any]) -> dict[str, int]:
    """The mesh of the placement's summary, what of it is believable."""
    found = placement.get("mesh")
    if not isinstance(found, Mapping):
        return {}
    most = {
        "width": LARGEST,
        "height": LARGEST,
        "cores_per_router": LARGEST,
        "cores_per_chip": LARGEST**3,
        "chips_wide": LARGEST**2,
    }
    return {
        name: value
        for name, limit in most.items()
        if isinstance(value := found.get(name), int) and not isinstance(value, bool) and 1 <= value <= limit
    }


def _frames(sheet: _Sheet) -> Iterator[str]:
    """Chips, and every place for a core."""
    for chip in sheet.chips:
        left, top = sheet.chip_at(chip)
        width, height = sheet.chip
        pad = 4.0
        yield (
            f'<rect class="chip-frame" x="{left - pad:.1f}" y="{top - pad:.1f}" width="{width + 2 * pad:.1f}" '
            f'height="{height + 2 * pad:.1f}" rx="3"/>'
        )
        if len(sheet.chips) > 1:
            yield _text(left, top - pad - 3, f"chip {chip}", "small")
        if not sheet.meshed:
            continue
        spots = []
        for y in range(sheet.height):
            for x in range(sheet.width):
                for within in range(sheet.each):
                    at, down = sheet.tile(chip, x, y, within)
                    spots.append(f"M{at:.1f} {down:.1f}h{sheet.side:.1f}v{sheet.side:.1f}h-{sheet.side:.1f}z")
        yield f'<path class="empty" d="{"".join(spots)}"/>'


_Panel = tuple[str, list[str], list[str], int]


def _use(report: EnergyReport, sheet: _Sheet, places: tuple[_Place, ...]) -> _Panel:
    """Head, cores, legend and the legend's lines: how full cores are."""
    shares = [_fullness(place.core) for place in places]
    if all(found is not None for found in shares):
        head, most, ends = "Use: the fuller of synaptic memory and neurons", 1.0, ("0 %", "100 % of the core's limit")
        value: Callable[[CoreCost], float] = lambda core: _fullness(core) or 0.0  # noqa: E731
    else:
        most = float(max(place.core.neurons for place in places)) or 1.0
        head, ends = "Use: neurons", ("0", f"{quantity(most)} neurons")
        value = lambda core: float(core.neurons)  # noqa: E731
    body = [_tile(sheet, place, "use", value(place.core) / most, _use_title(place.core)) for place in places]
    return head, body, _ramp("use", ends), 1


def _work(report: EnergyReport, sheet: _Sheet, places: tuple[_Place, ...]) -> _Panel:
    """Head, cores and links, legend and its lines: what cores do and links carry for a sample."""
    most = max(_events(place.core) for place in places) or 1.0
    body = [_tile(sheet, place, "work", _events(place.core) / most, _work_title(place.core)) for place in places]
    legend, lines = _ramp("work", ("0", f"{quantity(most)} a sample")), 1
    links = [link for link in report.links if sheet.meshed and link.chip in sheet.chips and link.packets > 0]
    if links:
        peak = max(link.packets for link in links)
        body += [_link(sheet, link, link.packets / peak) for link in links]
        legend.append(f'<g transform="translate(0,{LINE:.1f})">{_pointer(0, 10, 26, 0, 5)}</g>')
        told = f"{quantity(peak)} packets a sample on the busiest link"
        legend.append(_text(34, LINE + 14, told, "small"))
        lines = 2
    return "Activity: synaptic operations and neuron updates", body, legend, lines


def _ramp(kind: str, ends: tuple[str, str]) -> list[str]:
    step = 12.0
    shades = [
        f'<rect class="{kind}" x="{i * step:.1f}" y="4" width="{step:.1f}" height="11" stroke="none" '
        f'style="stroke:none" fill-opacity="{_opacity(i / (SHADES - 1)):.2f}"/>'
        for i in range(SHADES)
    ]
    after = SHADES * step + 6
    return [*shades, _text(after, 14, f"{ends[0]} to {ends[1]}", "small")]


def _opacity(value: float) -> float:
    return FAINTEST + (1 - FAINTEST) * min(max(value, 0.0), 1.0)


def _tile(sheet: _Sheet, place: _Place, kind: str, value: float, title: str) -> str:
    left, top = sheet.tile(place.chip, place.x, place.y, place.within)
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{sheet.side:.1f}" height="{sheet.side:.1f}" '
        f'fill-opacity="{_opacity(value):.2f}"><title>{escape(title)}</title></rect>'
    )


def _pointer(x: float, y: float, along: float, down: float, half: float, title: str = "") -> str:
    """A triangle from (x, y) to a point further along and down, its base 2 * half wide."""
    length = math.hypot(along, down)
    over_x, over_y = -down / length * half, along / length * half
    inside = f"<title>{escape(title)}</title>" if title else ""
    corners = ((x + over_x, y + over_y), (x - over_x, y - over_y), (x + along, y + down))
    return f'<polygon class="link" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}">{inside}</polygon>'


def _link(sheet: _Sheet, link: LinkLoad, value: float) -> str:
    """A link as a pointer in the gap beside its router; opposite ones lie beside each other."""
    left, top = sheet.router(link.chip, link.x, link.y)
    block, lane = sheet.block, sheet.block * 0.25
    over = {
        "east": link.x == sheet.width - 1,
        "west": link.x == 0,
        "south": link.y == sheet.height - 1,
        "north": link.y == 0,
    }[link.towards]
    length = (sheet.edge if over else sheet.gap) - 2
    half = 0.6 + (lane - 1.0) * value
    x, y, along, down = {
        "east": (left + block + 1, top + block / 2 + lane, length, 0.0),
        "west": (left - 1, top + block / 2 - lane, -length, 0.0),
        "south": (left + block / 2 - lane, top + block + 1, 0.0, length),
        "north": (left + block / 2 + lane, top - 1, 0.0, -length),
    }[link.towards]
    where = f"link from router ({link.x}, {link.y}) of chip {link.chip} to the {link.towards}"
    told = f"{quantity(link.packets)} packets a sample, {quantity(link.peak)} in its busiest step"
    return _pointer(x, y, along, down, half, f"{where}{', to another chip' if over else ''}: {told}")


def _fullness(core: CoreCost) -> float | None:
    known = [found for found in (core.memory_share, core.neuron_share) if found is not None]
    return max(known) if known else None


def _events(core: CoreCost) -> float:
    """Synaptic operations and neuron updates of a sample."""
    return sum(
        count for name, count in core.counts.items() if name.partition(".")[0] in ("synaptic-op", "neuron-update")
    )


def _named(core: CoreCost) -> str:
    where = f" (chip {core.chip}, router {core.x}, {core.y})" if core.x >= 0 else ""
    layers = [_short(layer) for layer in core.layers[:NAMED]]
    more = f" and {len(core.layers) - NAMED} more" if len(core.layers) > NAMED else ""
    return f"core {core.core}{where}: {', '.join(layers)}{more}"


def _use_title(core: CoreCost) -> str:
    neurons = f"{core.neurons:,} neurons" + ("" if core.neuron_share is None else f" ({share(core.neuron_share, 1)})")
    memory = f"{core.memory_bytes:,} bytes of synaptic memory"
    memory += "" if core.memory_share is None else f" ({share(core.memory_share, 1)})"
    return f"{_named(core)}; {neurons}, {memory}"


def _work_title(core: CoreCost) -> str:
    told = [f"{quantity(_events(core))} operations and updates a sample"]
    if core.energy is not None:
        told.append(full(core.energy, "J"))
    if core.busy is not None:
        told.append(f"busy for {full(core.busy, 's')}")
    return f"{_named(core)}; {', '.join(told)}"


def _short(name: str) -> str:
    shown = printable(name).replace("\n", " ")
    return shown if len(shown) <= LETTERS else shown[: LETTERS - 1] + "…"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
