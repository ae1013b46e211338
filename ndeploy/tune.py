"""Fine-tuning as a stage of the compiler: the chosen program is trained on as integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ndeploy.data import Data, load
from ndeploy.errors import UsageError
from ndeploy.ir.lowered import GRADED, Lowered
from ndeploy.ir.network import Network
from ndeploy.quantizer import Quantised
from ndeploy.target import Target


@dataclass(frozen=True)
class Training:
    """data: samples, with labels or without (then the float network is imitated); rate: None for the default; journal:
    keeps where training stands."""

    data: Path
    epochs: int
    rate: float | None
    seed: int
    journal: Path | None


def tuned(
    quantised: Quantised,
    lowered: Lowered,
    network: Network,
    target: Target,
    training: Training,
    calibration: Data | None,
    progress: Callable[[str], None],
) -> Quantised:
    """The program after training; its explanation, if there is one, judged anew on the calibration data.

    Raises UsageError ND205 without epochs, and what `finetune` and the float network raise.
    """
    from ndeploy.graph.reference import run
    from ndeploy.search.score import is_sequence
    from ndeploy.train.finetune import Tuning, finetune
    from ndeploy.train.rate import default_rate
    from ndeploy.train.real_mantissas import real_mantissas

    if training.epochs < 1:
        raise UsageError("ND205", f"{training.epochs} epochs of fine-tuning", help="give --epochs 1 or more")
    data = load(training.data)
    graded = any(isinstance(p.model, GRADED) for p in lowered.populations)
    steps = None if is_sequence(network, data) else network.steps
    found = run(network, data.x, steps, x_scale=data.x_scale)
    program = finetune(
        quantised.program,
        data,
        np.asarray(next(iter(found.outputs.values())), dtype=np.float64),
        Tuning(
            training.epochs,
            seed=training.seed,
            rate=default_rate(quantised.program) if training.rate is None else training.rate,
            journal=training.journal,
        ),
        # spiking layers of few bits are rounded far from nearest: from the edges of their cells too many latents
        # flip at once (Spikformer at 2 bits: 89 % of the training data right fall to 44 % in an epoch; from the
        # middle they rise to 96 %)
        real_mantissas(lowered, quantised.program) if graded else None,
        progress,
        target=target,
        reference_read=network.decode,
    )
    return _judged(replace(quantised, program=program), network, training, calibration)


def _judged(quantised: Quantised, network: Network, training: Training, calibration: Data | None) -> Quantised:
    from ndeploy.search.score import reference, score
    from ndeploy.search.search import SAMPLES

    before = quantised.explanation
    if before is None or calibration is None:
        return quantised
    data = calibration.spread(SAMPLES)
    after = score(quantised.program, data, reference(network, data))
    epochs = "1 epoch" if training.epochs == 1 else f"{training.epochs} epochs"
    note = f"fine-tuned for {epochs} on {training.data.name}; reasons of layers are those of the search before it"
    if before.accuracy is not None and after.accuracy is not None:
        note += f", which had {100 * before.accuracy:.4g} % of the calibration data right"
    return replace(
        quantised,
        explanation=replace(before, accuracy=after.accuracy, loss=after.loss, notes=(*before.notes, note)),
    )
