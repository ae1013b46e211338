"""`--steps auto`: a number of model steps that keeps to the budgets, found by compiling for several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ndeploy.budget import Budget
from ndeploy.errors import UsageError

if TYPE_CHECKING:
    from ndeploy.ir.network import Network
    from ndeploy.pipeline import Compiled, CompileOptions
    from ndeploy.search.steps import Candidate, StepChoice

SAMPLES = 200
"""Calibration samples on which numbers of steps are compared."""


def chosen_steps(
    path: Path,
    options: CompileOptions,
    network: Network,
    compile_model: Callable[[Path, CompileOptions], Compiled],
    progress: Callable[[str], None],
) -> StepChoice:
    """What `search.steps.choose_steps` chooses for the options. network: the float original, its steps known.

    Raises UsageError ND305 without calibration data, and what `choose_steps` raises.
    """
    from ndeploy.data import load
    from ndeploy.search.score import reference
    from ndeploy.search.steps import choose_steps, trial_bits

    if options.calibration is None:
        raise UsageError(
            "ND305",
            "--steps auto compares answers on calibration data",
            help="give --calibration DATA.npz with x and y",
        )
    if network.steps is None:
        raise UsageError(
            "ND204", "the number of model steps to start from is not known", help="give --steps auto:T, T the most"
        )
    data = load(options.calibration).spread(SAMPLES)
    bits = trial_bits(options.budget, options.bits)
    return choose_steps(
        quick(path, options, network, compile_model),
        network.steps,
        options.budget,
        data,
        reference(network, data),
        bits,
        progress,
    )


def quick(
    path: Path, options: CompileOptions, network: Network, compile_model: Callable[[Path, CompileOptions], Compiled]
) -> Callable[[int, int], Candidate]:
    """Compiling for a number of steps and one width, without search, training or the slower rounding."""
    from ndeploy.ir.network import Synchronisation

    settings = dict(options.settings)
    if any(isinstance(node, Synchronisation) for node in network.nodes.values()):
        settings.setdefault("rounding", "nearest")
    plain = replace(
        options, auto_steps=False, method="uniform", budget=Budget(), finetune=None, epochs=0, settings=settings
    )

    def at(steps: int, bits: int) -> Candidate:
        return compile_model(path, replace(plain, steps=steps, bits=bits))

    return at
