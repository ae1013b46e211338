"""The frontier of accuracy against memory, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndeploy.report import style
from ndeploy.search.explanation import Point

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Frontier:
    """What a frontier is drawn from.

    points: in any order. float_evaluated: the float network's accuracy on the data that `Point.evaluated` is of,
    float_accuracy: on calibration data; None where not known. whole: accuracies are of whole sequences.
    labelled, evaluated_labelled: accuracies on calibration data, and on the others, are against labels; else they are
    shares of answers that agree with the float network's.
    """

    name: str
    target: str
    points: tuple[Point, ...]
    float_accuracy: float | None = None
    float_evaluated: float | None = None
    whole: bool = False
    labelled: bool = True
    evaluated_labelled: bool = True

    @property
    def ordered(self) -> tuple[Point, ...]:
        """By memory, the better of two equals last; uniform before others where nothing differs."""
        return tuple(sorted(self.points, key=lambda p: (p.memory_bytes, p.mean_bits, -p.loss, p.method != "uniform")))


def best(points: Sequence[Point]) -> frozenset[int]:
    """Indices of the points that no other one beats: none has at most their memory and less loss, or less memory and
    at most their loss. Of equals all count."""
    return frozenset(
        i
        for i, p in enumerate(points)
        if not any(
            (q.memory_bytes <= p.memory_bytes and q.loss < p.loss)
            or (q.memory_bytes < p.memory_bytes and q.loss <= p.loss)
            for q in points
        )
    )


def measure(frontier: Frontier, labelled: bool) -> str:
    """What a share of right answers is called."""
    what = "accuracy" if labelled else "agreement with float"
    return f"{what} of whole sequences" if frontier.whole else what


def table(frontier: Frontier) -> Table:
    """A row a point, by memory; a mark on those that no other beats."""
    points = frontier.ordered
    marked = best(points)
    evaluated = any(p.evaluated is not None for p in points)
    columns = ["method", ">mean bits", ">memory", ">loss", f">calibration {measure(frontier, frontier.labelled)}"]
    other = [f">{measure(frontier, frontier.evaluated_labelled)} on --data"] if evaluated else []
    rows = style.grid("frontier", *columns, *other, "")
    for i, p in enumerate(points):
        cells = [
            style.plain(p.method),
            f"{p.mean_bits:.2f}",
            style.size_in_bytes(p.memory_bytes),
            f"{p.loss:.4g}",
            style.percent(p.accuracy),
        ]
        if evaluated:
            cells.append(style.percent(p.evaluated))
        rows.add_row(*cells, "[green]best for its memory[/green]" if i in marked else "")
    original = ["float", "", "", "", style.percent(frontier.float_accuracy)]
    rows.add_row(*original, *([style.percent(frontier.float_evaluated)] if evaluated else []), "", style="dim")
    return rows


def fields(frontier: Frontier) -> list[dict[str, Any]]:
    """Every point as plain data, by memory. best: no other point has at most its memory and less loss."""
    points = frontier.ordered
    marked = best(points)
    return [
        {
            "method": p.method,
            "mean_bits": p.mean_bits,
            "memory_bytes": p.memory_bytes,
            "loss": p.loss,
            "accuracy": p.accuracy,
            "evaluated": p.evaluated,
            "best": i in marked,
            "weights": dict(p.weights),
            "messages": dict(p.messages),
        }
        for i, p in enumerate(points)
    ]
