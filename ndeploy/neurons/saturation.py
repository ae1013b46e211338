"""Messages that are clipped to their payload, and how that is counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.neurons.base import Message


def saturate(value: IntArray, message: Message) -> IntArray:
    """The value as a message, clipped to its payload."""
    return np.clip(value, message.low, message.high)


def saturation(value: IntArray, message: Message, sums: Mapping[str, IntArray]) -> dict[str, int]:
    """Events: payload-saturated (an unsigned payload clips negative values by design: they do not count), and
    <name>-overflow for every sum that leaves 24 bits."""
    high = value > message.high
    low = (value < message.low) if message.signed else np.zeros_like(high)
    events = {"payload-saturated": int((high | low).sum())}
    for name, total in sums.items():
        events[f"{name}-overflow"] = int((np.abs(total) > STATE_MAX).sum())
    return events
