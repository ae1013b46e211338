"""Two artifacts without common units: what each loses against its own float network, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from ndeploy.divergence.ablation import LEAST, Ablation, Share


@dataclass(frozen=True)
class Row:
    """A cause. program, reference: the distance from the float network that it explains in either artifact, 0 to 1;
    0 where it does not differ there."""

    cause: str
    program: float
    reference: float

    @property
    def gap(self) -> float:
        """What the program loses by it and the reference does not; negative the other way."""
        return self.program - self.reference


@dataclass(frozen=True)
class Apart:
    """program, reference: each artifact beside the float network that it keeps. rows: the largest gap first."""

    program: Ablation
    reference: Ablation
    rows: tuple[Row, ...]

    @property
    def named(self) -> Share | None:
        """The cause that sets the two most apart, as the side that loses by it shows it; None where none does."""
        for row in self.rows:
            side = self.program if row.gap > 0 else self.reference
            if abs(row.gap) > LEAST:
                return next(s for s in side.shares if s.cause == row.cause)
        return None

    @property
    def distances(self) -> tuple[float, float]:
        """Of the program and of the reference from their float networks."""
        return self.program.program.distance, self.reference.program.distance


def apart(program: Ablation, reference: Ablation) -> Apart:
    """The causes of both, by how much more one of them explains."""
    own = {share.cause: max(0.0, share.explains) for share in program.shares}
    theirs = {share.cause: max(0.0, share.explains) for share in reference.shares}
    names = [*own, *(name for name in theirs if name not in own)]
    rows = [Row(name, own.get(name, 0.0), theirs.get(name, 0.0)) for name in names]
    return Apart(program, reference, tuple(sorted(rows, key=lambda row: -abs(row.gap))))
