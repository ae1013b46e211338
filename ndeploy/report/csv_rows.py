"""CSV that a spreadsheet opens as what it is: numbers as they are, names as text and never as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from ndeploy.printable import printable

FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet calculate a text; an apostrophe before it stops that."""


def text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The file. None is an empty cell; floats come back as they are."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    shown = printable(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
