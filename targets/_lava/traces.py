"""What a run records and hands over: one .npy a population and variable, (samples, steps, neurons). numpy only."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import CubaLi, CubaLif, ProductNeuron, Relay, TernaryLif

Wanted = Mapping[str, Sequence[str]]
"""What to record: by population "message" and names of state variables."""
Files = dict[tuple[str, str], IntArray]
"""What is recorded, by population and variable, (samples, steps, neurons)."""


def _type(population: Population, variable: str) -> type:
    message = population.neuron.message
    if variable == "message":
        # a relay or product of one declared bit may send more than it declares: it is not clipped
        clipped = not isinstance(population.neuron, ProductNeuron | Relay)
        return np.int8 if message.bits <= 1 and not message.signed and clipped else np.int64
    # u and v hold 24 bits
    return np.int32 if isinstance(population.neuron, CubaLif | CubaLi | TernaryLif) else np.int64


def create(program: Program, wanted: Wanted, samples: int) -> Files:
    """Room for what is to be recorded, in anonymous shared memory: child processes write to it, no descriptor stays."""
    files: Files = {}
    for name, variables in wanted.items():
        population = program.population(name)
        shape = (samples, program.steps, population.size)
        for variable in variables:
            kind = np.dtype(_type(population, variable))
            shared = mmap.mmap(-1, math.prod(shape) * kind.itemsize)
            files[name, variable] = cast(IntArray, np.frombuffer(shared, kind).reshape(shape))
    return files


def save(folder: Path, files: Files) -> None:
    """Write them and their index."""
    for number, array in enumerate(files.values()):
        np.save(folder / f"trace{number}.npy", array, allow_pickle=False)
    index = [[name, variable, f"trace{number}.npy"] for number, (name, variable) in enumerate(files)]
    (folder / "traces.json").write_text(json.dumps(index))


def load(folder: Path, program: Program) -> dict[str, IntArray]:
    """Traces by RunResult's names, int64 (samples, steps, *shape)."""
    found: dict[str, IntArray] = {}
    for name, variable, file in json.loads((folder / "traces.json").read_text()):
        key = f"spikes/{name}" if variable == "message" else f"state/{name}/{variable}"
        data = np.load(folder / file, mmap_mode="r", allow_pickle=False)
        found[key] = data.astype(np.int64).reshape(*data.shape[:2], *program.population(name).shape)
    return found
