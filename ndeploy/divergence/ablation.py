"""Which single cause explains a divergence: every cause is mended alone, and brought alone into the reference.

With d the distance (`signals.Distance`) from the reference, a cause c explains

    half of  d(program) - d(program with c mended)  +  d(reference with c alone) - d(reference)

the mean of what it takes away as the last cause and of what it brings as the first: the two ends of Shapley's value,
whose middle would need a run for every subset of causes. Where causes do not interact both terms are equal and the
halves add up to d(program).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ndeploy.data import Data
from ndeploy.divergence.causes import CAUSES, NAMES, PROGRAM, REFERENCE, Mix, mending, only
from ndeploy.divergence.engines import Engine
from ndeploy.divergence.signals import Distance, kept

PLACES = 12
"""Layers that are mended one at a time for the cause that is named."""
DEFECT = 0.02
"""Share of the distance from which a cause that is more than rounding comes before those that are rounding."""
CERTAIN = ("reset", "delay", "decay")
"""Causes that are more than rounding for certain where they are at all: by kind, by whole steps, by factors that are
not the nearest of 12 bits."""
LEAST = 1e-9
"""Distances below this are none."""


@dataclass(frozen=True)
class Effect:
    """distance: from the reference, 0 to 1; agreement: of samples answered as the reference, accuracy: of samples
    answered as y says; both None where they are not known."""

    distance: float
    agreement: float | None
    accuracy: float | None


NONE = Effect(0.0, None, None)


@dataclass(frozen=True)
class Share:
    """A cause that differs. mended: the program without it; alone: the reference with it; None where such a mix cannot
    be run. explains: distance; share: of the distance that all causes explain, 0 to 1. beyond: it is more than
    rounding to the program's widths gives. layers: where it is, with each
    layer's share of what mending all of them takes away; only for the cause that is named. findings: what differs."""

    cause: str
    title: str
    mended: Effect | None
    alone: Effect | None
    explains: float
    share: float
    remedy: str
    beyond: bool = False
    layers: tuple[tuple[str, float], ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ablation:
    """samples: that were run through every mix. program: as it is. shares: of the causes that differ, the one that
    explains most first."""

    samples: int
    program: Effect
    shares: tuple[Share, ...]

    @property
    def named(self) -> Share | None:
        """The cause to mend first: of those that are more than rounding, else of all, the one that explains most.

        Rounding is what was asked for; a number that no rounding gives is a mistake, named where it explains at least
        `DEFECT` of the distance, or brings that much by itself; of the `CERTAIN` ones whatever they explain. What alone
        differs is the cause even where it has not reached a message yet. None where nothing explains anything.
        """
        if len(self.shares) == 1 and self.shares[0].beyond:
            return self.shares[0]
        wrong = [s for s in self.shares if s.beyond and self._matters(s)]
        return next(iter(wrong + [s for s in self.shares if s.share > 0]), None)

    def _matters(self, share: Share) -> bool:
        """Whether what a cause does is enough to name it: anything where it is certain that no rounding gives it."""
        least, alone = (0.0, LEAST) if share.cause in CERTAIN else (DEFECT, DEFECT * self.program.distance)
        return share.share > least or (share.alone or NONE).distance >= max(LEAST, alone)


def ablate(engine: Engine, data: Data, *, against_float: bool, batch: int, progress: Callable[[str], None]) -> Ablation:
    """Run the samples through every mix. batch: samples at a time; it changes nothing but memory."""
    differing = engine.differing(data)
    names = [name for name in NAMES if name in differing]
    mixes: dict[Mix, Distance] = {PROGRAM: Distance.empty()}
    for name in names:
        mixes |= {mending(name): Distance.empty(), only(name): Distance.empty()}
    _measure(engine, data, mixes, batch, progress)
    base = mixes[PROGRAM]
    shares = []
    for cause in CAUSES:
        if cause.name not in differing:
            continue
        mended, alone = mixes[mending(cause.name)], mixes[only(cause.name)]
        terms = []
        if mended.samples:
            terms.append(base.mean - mended.mean)
        if alone.samples:
            terms.append(alone.mean)
        explains = sum(terms) / len(terms) if terms else 0.0
        remedy = cause.float_remedy if against_float else cause.program_remedy
        title = cause.title if against_float else cause.program_title
        shares.append(Share(cause.name, title, _effect(mended), _effect(alone), explains, 0.0, remedy))
    total = sum(max(0.0, s.explains) for s in shares)
    shares.sort(key=lambda s: -s.explains)
    ranked = [replace(s, share=max(0.0, s.explains) / total if total > LEAST else 0.0) for s in shares]
    beyond = engine.beyond_rounding(data)
    ranked = [replace(s, beyond=s.cause in beyond) for s in ranked]
    named = Ablation(len(data), _effect(base) or NONE, tuple(ranked)).named
    if named is not None:
        places = beyond.get(named.cause, differing[named.cause]) & differing[named.cause]
        where = _places(engine, data, named.cause, places, base, batch, progress)
        ranked[ranked.index(named)] = replace(named, layers=where)
    found = [
        replace(s, findings=engine.findings(s.cause, differing[s.cause])) if s.share > 0 or s.beyond else s
        for s in ranked
    ]
    return Ablation(len(data), _effect(base) or NONE, tuple(found))


def _measure(
    engine: Engine, data: Data, mixes: Mapping[Mix, Distance], batch: int, progress: Callable[[str], None]
) -> None:
    """Add up the distances of every mix; one that cannot be run keeps no samples."""
    broken: set[Mix] = set()
    for start in range(0, len(data), batch):
        part = data.slice(start, start + batch)
        reference = engine.run(part, REFERENCE)
        assert reference is not None  # the reference is a whole execution
        wanted = kept(engine.program, reference)
        for i, (mix, distance) in enumerate(mixes.items()):
            if mix in broken:
                continue
            signals = engine.run(part, mix)
            if signals is None:
                broken.add(mix)
                continue
            distance.add(engine.program, signals, reference, wanted, part.y)
            progress(f"samples {start + 1} to {start + len(part)} of {len(data)}, run {i + 1} of {len(mixes)}")
    for mix in broken:
        mixes[mix].samples = 0


def _effect(distance: Distance) -> Effect | None:
    if not distance.samples:
        return None
    agreement = distance.same / distance.samples if distance.answers else None
    accuracy = distance.right / distance.samples if distance.labels else None
    return Effect(distance.mean, agreement, accuracy)


def _places(
    engine: Engine,
    data: Data,
    cause: str,
    populations: frozenset[str],
    base: Distance,
    batch: int,
    progress: Callable[[str], None],
) -> tuple[tuple[str, float], ...]:
    """The layers at which the cause matters, each mended alone; the largest share first."""
    if len(populations) == 1:
        return ((next(iter(populations)), 1.0),)
    if len(populations) > PLACES:
        return ()
    order = [p.name for p in engine.program.populations if p.name in populations]
    mixes = {mending(cause, frozenset({name})): Distance.empty() for name in order}
    _measure(engine, data, mixes, batch, progress)
    gains = {
        name: max(0.0, base.mean - d.mean) if d.samples else 0.0 for name, d in zip(order, mixes.values(), strict=True)
    }
    total = sum(gains.values())
    if total <= LEAST:
        return ()
    found = [(name, gain / total) for name, gain in gains.items() if gain > 0]
    return tuple(sorted(found, key=lambda entry: -entry[1]))
