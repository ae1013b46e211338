"""Numbers and tables as every summary shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndeploy.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def si(value: float, unit: str = "") -> str:
    """Three significant digits with a prefix: 1234567 -> "1.23 M"; 0.0012 with unit "J" -> "1.2 mJ"."""
    if value == 0:
        return f"0 {unit}".strip()
    size = abs(value)
    if size >= 1:
        factor, prefix = next((f, p) for f, p in _PREFIXES if size >= f)
    elif unit:
        factor, prefix = next(((f, p) for f, p in _SMALL if size >= f), _SMALL[-1])
    else:
        factor, prefix = 1.0, ""
    return f"{value / factor:.3g} {prefix}{unit}".strip()


def size_in_bytes(n: int) -> str:
    """Bytes as B, KiB, MiB or GiB."""
    value = float(n)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def plain(text: str) -> str:
    """Text from a file as rich markup that shows it as it is."""
    from rich.markup import escape

    return escape(printable(text))


def many(n: int, what: str) -> str:
    """1 "core" -> "1 core"; 2 "core" -> "2 cores"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def percent(share: float | None) -> str:
    """0.9231 -> "92.31 %"; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f} %"


def shape(values: tuple[int, ...]) -> str:
    """(1, 28, 28) -> "1x28x28"."""
    return "x".join(str(n) for n in values) or "1"


def bar(share: float, width: int = 20) -> str:
    """A bar of block characters for a share of 0 to 1, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[part - 1] if part else "")


def facts(pairs: Mapping[str, Any]) -> Table:
    """Two columns, names dim on the left."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in pairs.items():
        table.add_row(name, value if not isinstance(value, str) else plain(value))
    return table


def grid(title: str, *columns: str) -> Table:
    """A light table; a column name that starts with '>' is right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def settings(table: Mapping[str, Mapping[str, Any]]) -> Table:
    """What the network's meaning rests on, with where each choice came from."""
    rows = grid("settings", "key", "value", "from")
    for key, entry in sorted(table.items()):
        rows.add_row(plain(key), plain(str(entry["value"])), plain(str(entry["from"])))
    return rows
