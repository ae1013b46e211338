"""Text of strangers, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters spelled out ("\\x1b"), so that no file can move a cursor or set a title."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
