"""What the compiler has to say without refusing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnostic:
    """A warning: a stable code of `ndeploy.codes`, the message, and what to do about it."""

    code: str
    message: str
    help: str = ""
