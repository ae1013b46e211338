"""Tables as data: the template lays them out, on paper and on narrow screens too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """kind: "name", "number", "text", or "bar" (whose heading holds the axis)."""

    label: str
    kind: str = "number"


@dataclass(frozen=True)
class Row:
    """cells: one a column; text is escaped by the template, Markup is not. kind: "", "part" (of several: the rest),
    "sum", or "head" (one cell over all columns)."""

    cells: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """axis: Markup in the heading of the bars' column."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    axis: str = ""
    note: str = ""


def largest(items: Sequence[T], key: Callable[[T], float], most: int) -> tuple[list[T], list[T]]:
    """The `most` items of the largest key, in their own order, and the others. One item is no "others": it is kept."""
    if len(items) <= most + 1:
        return list(items), []
    chosen = sorted(range(len(items)), key=lambda i: (-key(items[i]), i))[:most]
    kept = set(chosen)
    return [items[i] for i in sorted(kept)], [item for i, item in enumerate(items) if i not in kept]
