"""The frontier as a picture: accuracy against memory and against mean bits, uniform points on the same axes (SVG)."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ndeploy.report.frontier import Frontier, measure
from ndeploy.search.explanation import Point

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

LIGHT: Mapping[str, str] = {
    "paper": "#fdfdfc",
    "ink": "#24292f",
    "faint": "#6a737d",
    "grid": "#e4e6ea",
    "uniform": "#b35309",
    "bit-budget": "#1558b0",
    "other": "#6b3fa0",
}
DARK: Mapping[str, str] = {
    "paper": "#0f141b",
    "ink": "#e6edf3",
    "faint": "#9aa4af",
    "grid": "#28303a",
    "uniform": "#f0a35e",
    "bit-budget": "#6cb0ff",
    "other": "#c39bf0",
}
"""The same roles; what a reader's browser prefers decides. Text has a contrast of 4.5 or more on its paper."""
MARKERS: Mapping[str, str] = {"uniform": "s", "bit-budget": "o"}
SALT = "ndeploy"
WIDE = 10.0
"""Points between the best and the worst share from which the axis is spread towards 100."""
TICKS = (0, 20, 40, 60, 80, 90, 95, 98, 99, 100)
NAMED = 24
"""Characters of a network's name that are shown."""
AROUND = (
    (0, 9),
    (0, -9),
    (10, 5),
    (-10, 5),
    (10, -5),
    (-10, -5),
    (12, 0),
    (-12, 0),
    (0, 17),
    (0, -17),
    (18, 12),
    (-18, 12),
    (18, -12),
    (-18, -12),
)
"""Where a label may stand, in points from its marker, the best place first."""


def svg(frontier: Frontier) -> bytes:
    """The picture. The same frontier gives the same bytes. Raises ValueError without points."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure = draw(frontier)
    canvas: Any = FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "svg.hashsalt": SALT, "svg.fonttype": "path"}):
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": "ndeploy", "Title": _title(frontier)})
    return _both_schemes(buffer.getvalue().decode()).encode()


def draw(frontier: Frontier) -> Figure:
    """The figure of two panels, laid out: no two labels overlap. Raises ValueError without points."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not frontier.points:
        raise ValueError("a frontier without points has no picture")
    # a user's matplotlibrc must not change the bytes
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(10.4, 4.6), facecolor=LIGHT["paper"], layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        what, height, line = _height(frontier)
        memory, unit = _memory_unit(frontier.points)
        _panel(left, frontier, lambda p: p.memory_bytes / memory, height, line)
        _panel(right, frontier, lambda p: p.mean_bits, height, line)
        left.set_xlabel(f"synaptic memory as packed, {unit}", color=LIGHT["ink"])
        right.set_xlabel("weight bits, mean", color=LIGHT["ink"])
        for axes, told in (
            (left, "labels: mean weight bits"),
            (right, f"labels: {what.split(' on ')[0].rstrip(', %')}"),
        ):
            axes.set_title(told, color=LIGHT["faint"], fontsize=9, loc="right")
        left.set_ylabel(what, color=LIGHT["ink"])
        if what.endswith("%"):
            _spread_the_top(left, [height(p) for p in frontier.points] + ([] if line is None else [line]))
        figure.suptitle(_title(frontier), color=LIGHT["ink"], fontsize=12)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=LIGHT["ink"]
        )
        canvas.draw()
        # labels are placed in a layout that moves no more
        figure.set_layout_engine("none")
        _label(left, frontier, lambda p: p.memory_bytes / memory, height, lambda p: f"{p.mean_bits:.3g}")
        _label(right, frontier, lambda p: p.mean_bits, height, lambda p: f"{height(p):.3g}")
    return figure


def _title(frontier: Frontier) -> str:
    name = frontier.name if len(frontier.name) <= NAMED else frontier.name[: NAMED - 1] + "…"
    # matplotlib reads "$" as the beginning of a formula
    return f"{name} on {frontier.target}: what bits buy".replace("$", r"\$")


def _height(frontier: Frontier) -> tuple[str, Callable[[Point], float], float | None]:
    """What is drawn upwards, its value of a point, and the float network's."""
    if all(p.evaluated is not None for p in frontier.points):
        line = None if frontier.float_evaluated is None else 100 * frontier.float_evaluated
        what = measure(frontier, frontier.evaluated_labelled)
        return f"{what}, %", lambda p: 100 * _known(p.evaluated), line
    if all(p.accuracy is not None for p in frontier.points):
        line = None if frontier.float_accuracy is None else 100 * frontier.float_accuracy
        what = measure(frontier, frontier.labelled)
        return f"{what} on calibration data, %", lambda p: 100 * _known(p.accuracy), line
    return "loss on calibration data", lambda p: p.loss, None


def _known(value: float | None) -> float:
    return 0.0 if value is None else value


def _spread_the_top(axes: Axes, shares: Sequence[float]) -> None:
    """Where the points are far apart, what is wrong counts by its ratio, not its difference: from 98 to 99 is as far as
    from 96 to 98. A program that lost all but chance would press the others into one line."""
    low, high = min(shares), max(shares)
    if high - low < WIDE:
        return
    axes.set_yscale(
        "function", functions=(lambda y: -np.log2(101.0 - np.minimum(y, 100.9)), lambda z: 101.0 - np.exp2(-z))
    )
    ticks = [t for t in TICKS if low - (100.0 - low) * 0.1 <= t <= high + (101.0 - high) * 0.5]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()


def _memory_unit(points: Sequence[Point]) -> tuple[int, str]:
    largest = max(p.memory_bytes for p in points)
    return next(
        (size, unit)
        for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes"))
        if largest >= 4 * size or size == 1
    )


def _panel(
    axes: Axes,
    frontier: Frontier,
    across: Callable[[Point], float],
    height: Callable[[Point], float],
    line: float | None,
) -> None:
    axes.set_facecolor(LIGHT["paper"])
    axes.grid(True, color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=LIGHT["faint"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LIGHT["faint"])
    if line is not None:
        axes.axhline(
            line, color=LIGHT["faint"], linewidth=1.2, linestyle=(0, (5, 3)), label=f"float network: {line:.1f} %"
        )
    for method in sorted({p.method for p in frontier.points}, key=lambda m: (m != "uniform", m)):
        chosen = sorted((across(p), height(p)) for p in frontier.points if p.method == method)
        colour = _colour(method)
        axes.plot(
            [x for x, _ in chosen],
            [y for _, y in chosen],
            color=colour,
            marker=MARKERS.get(method, "D"),
            markersize=6,
            markeredgecolor=LIGHT["paper"],
            linewidth=1.6,
            linestyle=(0, (2, 2)) if method == "uniform" else "-",
            label=method.replace("$", r"\$"),
            zorder=3 if method == "uniform" else 4,
        )
    axes.margins(x=0.09, y=0.12)


def _colour(method: str) -> str:
    return LIGHT.get(method if method in MARKERS else "other", LIGHT["other"])


def _label(
    axes: Axes,
    frontier: Frontier,
    across: Callable[[Point], float],
    height: Callable[[Point], float],
    words: Callable[[Point], str],
) -> None:
    """A label beside every point that has room for one, where it hides least of the lines: the table has them all."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    spots = [axes.transData.transform((across(p), height(p))) for p in frontier.points]
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in spots]
    inside = axes.get_window_extent(renderer).padded(4 * scale)
    drawn = np.concatenate([_along(line) for line in axes.lines])
    # from the searched ones to the uniform ones: what is new has the better places
    order = sorted(
        range(len(spots)), key=lambda i: (frontier.points[i].method == "uniform", across(frontier.points[i]))
    )
    for i in order:
        point = frontier.points[i]
        best: tuple[int, Text, Bbox] | None = None
        for x, y in AROUND if point.method != "uniform" else tuple((x, -y) for x, y in AROUND):
            text = axes.annotate(
                words(point),
                (across(point), height(point)),
                xytext=(x, y),
                textcoords="offset points",
                ha="center" if x == 0 else "left" if x > 0 else "right",
                va="center",
                fontsize=8,
                color=_colour(point.method),
                zorder=6,
                path_effects=[withStroke(linewidth=2.2, foreground=LIGHT["paper"])],
            )
            box = _extent(text, renderer)
            free = _within(box, inside) and not any(box.overlaps(other) for other in taken)
            hidden = int(((drawn > box.min) & (drawn < box.max)).all(axis=1).sum()) if free else 0
            if not free or (best is not None and hidden >= best[0]):
                text.remove()
                continue
            if best is not None:
                best[1].remove()
            best = hidden, text, box
        if best is not None:
            taken.append(best[2])


def _along(line: Any) -> npt.NDArray[np.float64]:
    """Points on a drawn line, a pixel or two apart, in pixels: (points, 2)."""
    corners = line.get_transform().transform(line.get_xydata())
    pieces = [corners[:1]]
    for begin, end in itertools.pairwise(corners):
        steps = max(2, int(np.hypot(*(end - begin)) / 2))
        pieces.append(begin + (end - begin) * np.linspace(0, 1, steps)[:, None])
    return np.concatenate(pieces)


def _extent(text: Text, renderer: Any) -> Bbox:
    return text.get_window_extent(renderer).padded(1.0)


def _within(box: Bbox, around: Bbox) -> bool:
    return bool(box.x0 >= around.x0 and box.x1 <= around.x1 and box.y0 >= around.y0 and box.y1 <= around.y1)


def _both_schemes(text: str) -> str:
    """The picture with a style sheet that swaps its colours where the reader's scheme is dark; viewers that know no
    such sheets show it on its light paper."""
    rules = [
        f'[style*="{kind}: {LIGHT[role]}"] {{ {kind}: {DARK[role]} !important }}'
        for role in LIGHT
        for kind in ("fill", "stroke")
    ]
    sheet = "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}"
    return re.sub(r"(<svg\b[^>]*>)", lambda found: f"{found[1]}\n<style>\n{sheet}\n</style>", text, count=1)
