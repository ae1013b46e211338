"""A program in small: every part with its parameters, so that what changed can be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ndeploy.ir.program import Population, Program

Parts = Mapping[str, Mapping[str, str]]
"""By part ("population 'a'", "projection 'w'", "product 'x'", "program"): its parameters as short texts."""

WORDS = {
    "vth": "threshold",
    "du": "decay of the current",
    "dv": "decay of the membrane",
    "reset": "reset mode",
    "reset_amount": "reset amount",
    "reset_value": "reset value",
    "weights": "weights",
    "delay": "delay",
    "delays": "delays of synapses",
    "bits": "activation width",
    "bias": "bias",
    "input_bias": "bias of the current",
    "refractory": "refractory period",
}
"""How messages name parameters."""
STORED = ("exponent", "delay", "delays", "weight_bits", "sign")
"""Of a projection, beside its synapses."""
MOST_NAMED = 4
FOLLOW = ("exponent", "shift", "multiplier", "gain", "threshold", "bias", "weights", "vth", "width")
"""Words in parameters that calibration derives from others: named after those."""


def parts(program: Program) -> dict[str, dict[str, str]]:
    """Of the integer program: scales are real numbers that no execution reads and are left out."""
    found = {
        "program": {
            "steps": str(program.steps),
            "period": str(program.period),
            "mode": program.mode,
            "inputs": ", ".join(f"{port.population} at {port.scale!r}" for port in program.inputs),
            "outputs": ", ".join(f"{port.population}.{port.variable} {port.decode}" for port in program.outputs),
        }
    }
    for population in program.populations:
        found[f"population '{population.name}'"] = _population(population)
    for projection in program.projections:
        synapses = {
            name if name != "weight" else "weights": brief(value) for name, value in vars(projection.synapses).items()
        }
        found[f"projection '{projection.name}'"] = {
            "kind": type(projection.synapses).__name__,
            **synapses,
            "from": projection.source,
            "to": f"{projection.target}.{projection.port}",
            **{
                name: brief(getattr(projection, name))
                for name in ("exponent", "delay", "delays", "weight_bits", "sign")
            },
        }
    for product in program.products:
        told = {f.name: brief(getattr(product, f.name)) for f in fields(product) if f.name not in ("name", "origin")}
        found[f"product '{product.name}'"] = told
    return found


def digest(found: Parts) -> str:
    """SHA-256 of the parts."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _population(population: Population) -> dict[str, str]:
    told = {"kind": population.neuron.kind, "shape": str(population.shape), "offset": str(population.offset)}
    told["updates"] = str(population.updates)
    return told | {name: brief(value) for name, value in vars(population.neuron).items()}


def brief(value: Any) -> str:
    """A value in a few characters; of an array of several values: digest, sum and range."""
    if isinstance(value, np.ndarray):
        if value.size == 1:
            return str(value.reshape(-1)[0])
        flat = np.ascontiguousarray(value.astype(np.int64) if value.dtype.kind in "biu" else value)
        told = hashlib.sha256(f"{flat.shape}".encode() + flat.tobytes()).hexdigest()[:16]
        if not flat.size or flat.dtype.kind not in "if":
            return told
        return f"{told} (sum {flat.sum()}, {flat.min()} to {flat.max()})"
    return str(value)


def changes(before: Parts, after: Parts) -> list[str]:
    """What differs between two programs, a sentence a parameter: what others follow from first, else in the order of
    the second."""
    found = [f"{name} is new" for name in after if name not in before]
    found += [f"{name} is gone" for name in before if name not in after]
    rest: list[str] = []
    for name, now in after.items():
        then = before.get(name)
        if then is None:
            continue
        for key in dict.fromkeys((*then, *now)):
            if then.get(key) != now.get(key):
                word = WORDS.get(key, key.replace("_", " "))
                told = f"{name}: {word} {then.get(key, 'none')} -> {now.get(key, 'none')}"
                (rest if any(part in word for part in FOLLOW) else found).append(told)
    return found + rest


def sentence(found: list[str]) -> str:
    """The first few changes as one text; "" for none."""
    more = len(found) - MOST_NAMED
    return "; ".join(found[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
