"""What every measurement of a search depends on, as one text: a journal of anything else is not taken over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from ndeploy.quantizer import Request


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def fingerprint(request: Request) -> str:
    """SHA-256 of network, data, target, options and toolchain; budget, workers and seed change no measurement.

    What is observed on calibration data follows from these: only its names are counted in.
    """
    from ndeploy import __version__

    told = hashlib.sha256()
    _add(
        told,
        {
            "version": __version__,
            "numpy": np.__version__,
            "lowered": request.lowered,
            "network": request.network,
            "schedule": request.schedule,
            "target": request.target,
            "data": request.calibration,
            "bits": (request.bits, request.bits_of),
            "payloads": (request.activation_bits, request.payload_of, request.clip),
            "threshold": request.threshold,
            "input": request.input_settings,
            "observed": (sorted(request.observed), sorted(request.histograms), sorted(request.moments)),
        },
    )
    return told.hexdigest()


def _add(told: _Hash, value: Any) -> None:
    """Every part with its type and its length, so that no two values look alike."""
    told.update(f"{type(value).__name__}:".encode())
    if isinstance(value, np.ndarray):
        told.update(f"{value.dtype.str}{value.shape}".encode())
        told.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        told.update(f"{len(value)}".encode())
        for key in sorted(value, key=repr):
            _add(told, key)
            _add(told, value[key])
    elif isinstance(value, list | tuple):
        told.update(f"{len(value)}".encode())
        for item in value:
            _add(told, item)
    elif isinstance(value, set | frozenset):
        _add(told, sorted(value, key=repr))
    elif is_dataclass(value):
        for item in fields(value):
            _add(told, item.name)
            _add(told, getattr(value, item.name))
    else:
        text = repr(value)
        told.update(f"{len(text)} {text}".encode())
