"""Trace files a run writes: one .npy a population and variable, (samples, steps, neurons). numpy only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import CubaLi, CubaLif, TernaryLif

Wanted = Mapping[str, Sequence[str]]
"""What to record: by population "message" and names of state variables."""
Files = dict[tuple[str, str], IntArray]
"""Open trace files, mapped into memory and shared with child processes, by population and variable."""


def _type(population: Population, variable: str) -> type:
    message = population.neuron.message
    if variable == "message":
        return np.int8 if message.bits <= 1 and not message.signed else np.int64
    # u and v hold 24 bits
    return np.int32 if isinstance(population.neuron, CubaLif | CubaLi | TernaryLif) else np.int64


def create(folder: Path, program: Program, wanted: Wanted, samples: int) -> Files:
    """Make the files and their index.

    They are opened here, once: parsing a .npy header in several threads at once can fail in CPython 3.11
    (python/cpython issue 106905).
    """
    index = []
    files: Files = {}
    for name, variables in wanted.items():
        population = program.population(name)
        for variable in variables:
            path = folder / f"trace{len(files)}.npy"
            shape = (samples, program.steps, population.size)
            kind = _type(population, variable)
            files[name, variable] = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)  # type: ignore[no-untyped-call]
            index.append([name, variable, path.name])
    (folder / "traces.json").write_text(json.dumps(index))
    return files


def load(folder: Path, program: Program) -> dict[str, IntArray]:
    """Traces by RunResult's names, int64 (samples, steps, *shape)."""
    found: dict[str, IntArray] = {}
    for name, variable, file in json.loads((folder / "traces.json").read_text()):
        key = f"spikes/{name}" if variable == "message" else f"state/{name}/{variable}"
        data = np.load(folder / file, mmap_mode="r", allow_pickle=False)
        found[key] = data.astype(np.int64).reshape(*data.shape[:2], *program.population(name).shape)
    return found
