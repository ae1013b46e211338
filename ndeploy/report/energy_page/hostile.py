"""Reports and JSON of strangers, with control characters spelled out wherever there is text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ndeploy.printable import printable

T = TypeVar("T")


def printed(value: T) -> T:
    """The same data (dataclasses, mappings, lists, tuples, text) whose text is fit to be shown."""
    found: Any = _printed(value)
    return found  # type: ignore[no-any-return]


def _printed(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _printed(getattr(value, f.name)) for f in fields(value) if f.init})
    if isinstance(value, Mapping):
        return {_printed(key): _printed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_printed(item) for item in value)
    return value
