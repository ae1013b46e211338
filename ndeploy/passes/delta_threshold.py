"""How coarse delta coding may be: the largest threshold that calibration data do not object to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.data import Data
from ndeploy.decode import encode, fitted
from ndeploy.errors import UsageError
from ndeploy.evaluate import accuracies
from ndeploy.fixed import IntArray
from ndeploy.ir.lowered import DeltaCoded
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.passes.compose import to_matrix
from ndeploy.quantizer import Quantised, Request

SAMPLES = 512
SHARES = tuple(2.0**-e for e in (3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9, 10))
"""Thresholds tried, coarsest first, as a share of the largest message."""

Quantize = Callable[[Request, Callable[[str], None]], Quantised]


def with_threshold(
    request: Request, quantize: Quantize, asked: str, budget: float, progress: Callable[[str], None]
) -> tuple[Quantised, Mapping[str, Any]]:
    """The program at the threshold asked for, or at the coarsest one within the budget, and what that saves.

    asked: a share of the largest message as text, or "auto". budget: points of accuracy (of whole sequences where the
    answer is one) that may be lost on calibration data: samples right at threshold 0 and wrong now, with one standard
    deviation of that count for data not seen; without labels, samples answered otherwise than at threshold 0. Raises
    UsageError ND205 for a threshold that is no share and for "auto" where the network gives no answers, ND305 for
    "auto" without calibration data.
    """
    if asked != "auto":
        return _fixed(request, quantize, asked, progress)
    if request.calibration is None:
        raise UsageError(
            "ND305", "--threshold auto needs calibration data", help="give --calibration DATA.npz or --threshold 0.03"
        )
    data = request.calibration.spread(SAMPLES)
    decode = request.lowered.decode
    if decode == "none":
        raise UsageError(
            "ND205", "--threshold auto compares answers, and this network gives none", help="give --threshold 0.03"
        )
    exact = quantize(replace(request, threshold=0.0), progress)
    reference = _run(exact.program, data)
    labels = data.y if data.y is not None else reference.predictions
    was_right = _right(reference, labels, decode)
    for share in SHARES:
        progress(f"trying threshold {share:.4g}")
        made = quantize(replace(request, threshold=share), progress)
        result = _run(made.program, data)
        lost = int((was_right & ~_right(result, labels, decode)).sum())
        if lost + math.sqrt(lost) <= budget / 100.0 * len(data):
            score = _score(result, labels, decode)
            return made, _told(request, "auto", share, reference, result, score, budget)
    return exact, _told(request, "auto", 0.0, reference, reference, _score(reference, labels, decode), budget)


def _fixed(
    request: Request, quantize: Quantize, asked: str, progress: Callable[[str], None]
) -> tuple[Quantised, Mapping[str, Any]]:
    try:
        share = float(asked)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 1.0:
        raise UsageError(
            "ND205", f"threshold '{asked}'", help="give a share of the largest message from 0 to below 1, or auto"
        )
    made = quantize(replace(request, threshold=share), progress)
    if request.calibration is None:
        return made, {"kind": "sigma-delta", "threshold": share, "chosen": "given"}
    data = request.calibration.spread(SAMPLES)
    decode = request.lowered.decode
    reference = _run(quantize(replace(request, threshold=0.0), progress).program, data)
    result = _run(made.program, data)
    labels = data.y if data.y is not None else reference.predictions
    return made, _told(request, "given", share, reference, result, _score(result, labels, decode), None)


def _run(program: Program, data: Data) -> RunResult:
    from ndeploy.sim import run

    return run(program, encode(program, data.x, data.x_scale))


def _right(result: RunResult, labels: IntArray | None, decode: str) -> npt.NDArray[np.bool_]:
    """By sample, whether its whole answer is right."""
    if result.predictions is None or labels is None:
        return np.ones(0, dtype=np.bool_)
    answers = result.predictions
    if decode == "ctc" and labels.ndim == 2:
        length = max(answers.shape[1], labels.shape[1])
        answers, labels = fitted(answers, length), fitted(labels, length)
    return np.asarray((answers == labels).reshape(len(answers), -1).all(axis=1))


def _score(result: RunResult, labels: IntArray | None, decode: str) -> float:
    accuracy, sequences = accuracies(result.predictions, labels, decode)
    score = sequences if sequences is not None else accuracy
    return 0.0 if score is None else score


def _told(
    request: Request,
    chosen: str,
    share: float,
    reference: RunResult,
    result: RunResult,
    score: float,
    budget: float | None,
) -> dict[str, Any]:
    """What goes into the artifact: threshold, and the synaptic operations of delta-coded messages against the same
    synapses fed by every message ("dense": each neuron sends at every model step)."""
    coded = {p.name for p in request.lowered.populations if isinstance(p.model, DeltaCoded)}
    weighted = [p for p in request.lowered.projections if p.source in coded and not p.unit]
    dense = sum(to_matrix(p.synapses).nnz for p in weighted) * request.lowered.steps
    spent = sum(float(np.mean(result.counts.synaptic_ops[p.name])) for p in weighted)
    total = sum(float(np.mean(v)) for v in result.counts.synaptic_ops.values())
    before = sum(float(np.mean(v)) for v in reference.counts.synaptic_ops.values())
    return {
        "kind": "sigma-delta",
        "threshold": share,
        "chosen": chosen,
        "accuracy_budget": budget,
        "calibration_score": score,
        "dense_events": dense,
        "events": spent,
        "events_share": spent / dense if dense else 0.0,
        "synaptic_ops": total,
        "synaptic_ops_at_threshold_0": before,
    }
