"""Two executions side by side: how far apart every layer is, where they part first, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ndeploy.data import Data
from ndeploy.divergence.ablation import Ablation, Share, ablate
from ndeploy.divergence.apart import Apart, apart
from ndeploy.divergence.causes import PROGRAM
from ndeploy.divergence.engines import Engine, FloatEngine, ProgramEngine
from ndeploy.divergence.layers import Layer, Layers, Parting, common
from ndeploy.divergence.rasters import Raster, Shades, rasters
from ndeploy.divergence.sides import Side
from ndeploy.divergence.signals import Signals, predictions
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.verify import batch_size

WORK = 1e9
"""Synaptic events (as `sim.plan.work` counts them) of the samples of an ablation, times the runs it takes: about a
minute on two cores."""
RUNS = 12


def _quiet(line: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Answers:
    """Shares of samples, 0 to 1. same: answered alike by both; program, reference: answered as y says, None without."""

    same: float
    program: float | None
    reference: float | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """against: what the program is compared with. exact: whether both sides compute in integers. layers: in the
    program's order; first: where they part, None where they do not. ablation: None where there is none, `no_ablation`
    says why. notes: what a reader must know. rasters: a sample's messages, for the page.

    today: of a comparison with the float network, a sentence about what a compile of today gives; as_compiled: whether
    it is known to be this program; mistakes: what tells the program from it, None where nothing does. apart: of two
    artifacts without common units, each beside its own float network."""

    against: str
    exact: bool
    samples: int
    steps: int
    layers: tuple[Layer, ...]
    first: Parting | None
    answers: Answers | None
    ablation: Ablation | None
    no_ablation: str
    notes: tuple[str, ...] = ()
    rasters: tuple[Raster | Shades, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    today: str = ""
    mistakes: Ablation | None = None
    apart: Apart | None = None
    as_compiled: bool = False

    @property
    def named(self) -> Share | None:
        """The cause to mend first: a number that a compile of today makes otherwise comes before all rounding."""
        if self.mistakes is not None and self.mistakes.named is not None:
            return self.mistakes.named
        if self.apart is not None:
            return self.apart.named
        return None if self.ablation is None else self.ablation.named

    @property
    def equal(self) -> bool:
        """Whether no value differs (against floats: beyond the tolerance of graded values)."""
        return self.first is None


def compare(
    program: Program,
    data: Data,
    own: Side,
    reference: Side,
    *,
    against: str,
    engine: Engine | None,
    no_engine: str = "",
    today: ProgramEngine | None = None,
    told: str = "",
    other: FloatEngine | None = None,
    one_unit: bool = True,
    ablation_samples: int | None = None,
    progress: Callable[[str], None] = _quiet,
    provenance: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare all samples, then ablate on some of them.

    engine: None where causes cannot be told apart, `no_engine` says why. today: the program beside what a compile of
    today gives, `told` says how they compare. other: the reference, an artifact in other units, beside its own float
    network; `engine` is then that of the program. one_unit: the reference's states are measured as the program's.
    ablation_samples: None for as many as `WORK` allows; 0 for no
    ablation. Raises UsageError ND650 where the two sides share no layer, and what they raise.
    """
    exact = own.exact and reference.exact
    layers = Layers(program, exact, exact and one_unit)
    same, right, wanted_right, answered, labelled = 0, 0, 0, 0, 0
    picture: tuple[Signals, Signals] | None = None
    size = batch_size(program)
    for start in range(0, len(data), size):
        part = data.slice(start, start + size)
        mine, theirs = own.signals(part, start), reference.signals(part, start)
        if not common(program, mine, theirs):
            raise UsageError(
                "ND650",
                f"the program and {against} have no layer of one name and shape",
                help="compare an artifact with its own float network or traces, or with another of the same model",
            )
        before = layers.first()
        layers.add(mine, theirs, start)
        if picture is None or (before is None and layers.first() is not None):
            first = layers.first()
            picture = _one_sample(mine, theirs, 0 if first is None else first.sample - start)
        ours, expected = predictions(program, mine), predictions(program, theirs)
        if ours is not None and expected is not None:
            answered += len(ours)
            same += int((ours == expected).reshape(len(ours), -1).all(axis=1).sum())
            if part.y is not None and part.y.shape == ours.shape:
                labelled += len(ours)
                right += int((ours == part.y).reshape(len(ours), -1).all(axis=1).sum())
                wanted_right += int((expected == part.y).reshape(len(ours), -1).all(axis=1).sum())
        progress(f"{min(start + size, len(data))} of {len(data)} samples")
    first = layers.first()
    answers = None
    if answered:
        shares = (right / labelled, wanted_right / labelled) if labelled else (None, None)
        answers = Answers(same / answered, *shares)
    notes: list[str] = []
    found: Ablation | None = None
    mistakes: Ablation | None = None
    sides_apart: Apart | None = None
    differ = first is not None or not exact
    if engine is not None and differ and ablation_samples != 0:
        chosen = data.slice(0, _enough(program, len(data)) if ablation_samples is None else ablation_samples)
        notes += _other_than_runner(engine, data.slice(0, min(len(data), size)), own)
        against_float = isinstance(engine, FloatEngine)
        found = ablate(engine, chosen, against_float=against_float, batch=size, progress=progress)
        if today is not None and today.differing(chosen):
            mistakes = ablate(today, chosen, against_float=False, batch=size, progress=progress)
            if mistakes.named is None:
                notes += _without_effect(today, chosen)
        if other is not None:
            theirs_alone = ablate(other, chosen, against_float=True, batch=size, progress=progress)
            sides_apart = apart(found, theirs_alone)
    elif engine is not None and first is None:
        no_engine = "nothing differs on these data"
        if not isinstance(engine, FloatEngine):
            notes += _without_effect(engine, data)
    elif engine is not None:
        no_engine = "no ablation was asked for"
    return Comparison(
        against,
        exact,
        len(data),
        program.steps,
        layers.found(),
        first,
        answers,
        found,
        no_engine if found is None else "",
        tuple(notes),
        () if picture is None else rasters(program, *picture, layers.found(), first),
        {} if provenance is None else provenance,
        told,
        mistakes,
        sides_apart,
        today is not None and not today.differing(data),
    )


def _without_effect(engine: Engine, data: Data) -> list[str]:
    found = []
    for name, places in engine.differing(data).items():
        findings = engine.findings(name, places)
        found.append(f"differs without effect on these data: {'; '.join(findings) or name}")
    return found


def _enough(program: Program, samples: int) -> int:
    """Samples of an ablation: as many as the work allows, 4 to 64, the same on every machine."""
    from ndeploy.sim.plan import work

    return max(4, min(64, samples, int(WORK / (RUNS * max(1.0, float(work(program, 1)))))))


def _one_sample(mine: Signals, theirs: Signals, i: int) -> tuple[Signals, Signals]:
    def cut(s: Signals) -> Signals:
        return Signals(
            {name: value[i : i + 1].copy() for name, value in s.messages.items()},
            {name: value[i : i + 1].copy() for name, value in s.membranes.items()},
            s.output[i : i + 1].copy(),
        )

    return cut(mine), cut(theirs)


def _other_than_runner(engine: Engine, part: Data, own: Side) -> list[str]:
    """A sentence where the execution that is compared is not what the program says: then no cause in the program
    explains it all."""
    said, shown = engine.run(part, PROGRAM), own.signals(part, 0)
    if said is None:
        return []
    off = [n for n in shown.messages if n in said.messages and not np.allclose(said.messages[n], shown.messages[n])]
    if not off:
        return []
    return [
        f"the runner computes other values than the program says, first in '{off[0]}': no cause below explains that; "
        "`ndeploy verify` finds the step"
    ]


def fields(found: Comparison) -> dict[str, Any]:
    """The object of `--json`: shares of 0 to 1, SQNR in dB, steps and samples counted from 0."""
    named = found.named
    return {
        "against": found.against,
        "exact": found.exact,
        "samples": found.samples,
        "steps": found.steps,
        "equal": found.equal,
        "first_divergence": None if found.first is None else asdict(found.first),
        "agreement": None if found.answers is None else found.answers.same,
        "accuracy": None if found.answers is None else found.answers.program,
        "reference_accuracy": None if found.answers is None else found.answers.reference,
        "layers": [asdict(layer) for layer in found.layers],
        "cause": None if named is None else named.cause,
        "remedy": None if named is None else named.remedy,
        "ablation": _ablation(found.ablation),
        "today": found.today,
        "as_compiled": found.as_compiled,
        "mistakes": _ablation(found.mistakes),
        "reference_ablation": None if found.apart is None else _ablation(found.apart.reference),
        "no_ablation": found.no_ablation,
        "notes": list(found.notes),
        "provenance": dict(found.provenance),
    }


def _ablation(found: Ablation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "samples": found.samples,
        "program": asdict(found.program),
        "causes": [asdict(share) | {"layers": dict(share.layers)} for share in found.shares],
    }
