"""A suite of one small artifact, and the ways it may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from small_artifact import PROGRAM, write

from ndeploy import artifact
from ndeploy.ir.program import Program

TEXT = """schema = "ndeploy.suite/1"
[defaults]
traced = 5
[[case]]
name = "small"
artifact = "small.ndp"
data = "small.npz"
tolerances = { speed = 5 }
"""
META = {"target": "loihi2", "settings": {}}


def suite(folder: Path, text: str = TEXT) -> Path:
    """The suite's file, its artifact and data beside it."""
    write(folder)
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def save(folder: Path, program: Program) -> None:
    """Another program in place of the artifact's."""
    artifact.save(artifact.Artifact(program, {}, None, META), folder / "small.ndp")


def neuron(program: Program, name: str, **parameters: Any) -> Program:
    """With other parameters of a population's neuron."""
    return replace(
        program,
        populations=tuple(
            replace(p, neuron=replace(p.neuron, **parameters)) if p.name == name else p for p in program.populations
        ),
    )


def weight(program: Program, name: str, place: int, bit: int) -> Program:
    """With one bit of one weight flipped."""

    def flipped(projection: Any) -> Any:
        values = np.array(projection.synapses.weight)
        values.reshape(-1)[place] ^= 1 << bit
        return replace(projection, synapses=replace(projection.synapses, weight=values))

    return replace(program, projections=tuple(flipped(p) if p.name == name else p for p in program.projections))


def delayed(program: Program, name: str, delay: int) -> Program:
    """With another delay of a projection."""
    return replace(
        program, projections=tuple(replace(p, delay=delay) if p.name == name else p for p in program.projections)
    )


PLANTED: dict[str, tuple[Callable[[], Program], str]] = {
    "weight bit": (lambda: weight(PROGRAM, "in->hidden", 4, 1), "projection 'in->hidden': weights"),
    "decay": (lambda: neuron(PROGRAM, "hidden", dv=900), "population 'hidden': decay of the membrane 300 -> 900"),
    "threshold": (lambda: neuron(PROGRAM, "hidden", vth=9 << 6), "population 'hidden': threshold 192 -> 576"),
    "reset mode": (lambda: neuron(PROGRAM, "out", reset="none"), "population 'out': reset mode zero -> none"),
    "delay": (lambda: delayed(PROGRAM, "hidden->out", 2), "projection 'hidden->out': delay 1 -> 2"),
}
"""What is planted in the small program, and what the cause must say."""
