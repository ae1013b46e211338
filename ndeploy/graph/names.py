"""Node names as HDF5 keys: "/" separates groups there and "." means the group itself."""

from __future__ import annotations

from urllib.parse import unquote


def encode(name: str) -> str:
    """A key for a node name: "%", "/", NUL and names of dots only are percent-encoded, everything else stays."""
    if not name:
        return "%"
    name = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return name.replace(".", "%2E") if set(name) == {"."} else name


def decode(key: str) -> str:
    """The inverse of `encode`."""
    return "" if key == "%" else unquote(key, errors="strict")
