"""Why a tick takes as many chip steps as it does: the longest loop of a program.

A value that comes back to where it was after n model steps has had n periods to do so, so the period is at least the
loop's chip steps over n. The costs are the least ones of docs/program.md, without the waits that balance skips: a chip
step a projection, what its realisation takes a product, one more out of the embedded processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ndeploy.ir.program import Program, lag
from ndeploy.realise import realise


@dataclass(frozen=True)
class Hop:
    """From a population to the next. chip_steps: the least it takes. lag: model steps it crosses. product: the name of
    the product in between, "" for a projection."""

    source: str
    target: str
    chip_steps: int
    lag: int
    product: str = ""


@dataclass(frozen=True)
class Loop:
    """Hops in order, the last of which ends where the first begins."""

    hops: tuple[Hop, ...]

    @property
    def chip_steps(self) -> int:
        return sum(hop.chip_steps for hop in self.hops)

    @property
    def model_steps(self) -> int:
        return sum(hop.lag for hop in self.hops)

    @property
    def populations(self) -> tuple[str, ...]:
        """Names in order, the first one again at the end."""
        return (*(hop.source for hop in self.hops), self.hops[0].source)


@dataclass(frozen=True)
class TickTime:
    """period: chip steps a tick. loop: the longest, None in a program without. busy: the product that keeps its neurons
    occupied longest, and for how many chip steps; None without products."""

    period: int
    loop: Loop | None
    busy: tuple[str, int] | None

    @property
    def needed(self) -> int:
        """Chip steps that the longest loop asks of a tick; 0 without one."""
        return 0 if self.loop is None else -(-self.loop.chip_steps // self.loop.model_steps)

    def words(self) -> str:
        """A sentence."""
        steps = "1 chip step" if self.period == 1 else f"{self.period} chip steps"
        said = f"a tick takes {steps}"
        if self.busy is not None and self.busy[1] == self.period > max(1, self.needed):
            said += f": product '{self.busy[0]}' is busy for that long"
            return said if self.loop is None else f"{said}; the longest loop asks for {self.needed}: {path(self.loop)}"
        if self.loop is None:
            return f"{said}: nothing in it waits for an earlier tick"
        over = "" if self.loop.model_steps == 1 else f" ({self.loop.chip_steps} in {self.loop.model_steps} ticks)"
        if self.needed == self.period:
            return f"{said}: its longest loop is {path(self.loop)}{over}"
        return f"{said}; its longest loop asks for {self.needed}: {path(self.loop)}{over}"


def path(loop: Loop) -> str:
    """a -> b -2-> c -> a: a hop's chip steps are shown where there is more than one."""
    arrows = "".join(f" {'->' if h.chip_steps == 1 else f'-{h.chip_steps}->'} {h.target}" for h in loop.hops)
    return loop.hops[0].source + arrows


def tick_time(program: Program) -> TickTime:
    """What sets the program's period."""
    busy = max(((p.name, realise(p).busy) for p in program.products), key=lambda one: one[1], default=None)
    return TickTime(program.period, longest_loop(hops(program)), busy)


def hops(program: Program) -> tuple[Hop, ...]:
    """Every way from one population's update to another's."""
    leaves = {p.name: int(p.neuron.embedded) for p in program.populations}
    found = [
        Hop(p.source, p.target, 1 + leaves[p.source], lag(program, p.source, p.target, p.delay))
        for p in program.projections
    ]
    for product in program.products:
        cost = realise(product).chip_steps
        found += [
            Hop(operand, product.target, cost + leaves[operand], 0, product.name)
            for operand in dict.fromkeys((product.left, product.right))
        ]
    return tuple(found)


def longest_loop(edges: Sequence[Hop]) -> Loop | None:
    """The loop with the most chip steps a model step; None where no value comes back.

    Lawler's method: as long as some loop takes more than the best one so far, take that one.
    """
    best: Loop | None = None
    ratio = Fraction(0)
    while (found := _longer(edges, ratio)) is not None:
        best, ratio = found, Fraction(found.chip_steps, max(1, found.model_steps))
        if found.model_steps <= 0:  # no valid program: a value would depend on itself
            break
    return best


def _longer(edges: Sequence[Hop], ratio: Fraction) -> Loop | None:
    """A loop of more than `ratio` chip steps a model step (Bellman-Ford on the surplus of each hop)."""
    gain = [hop.chip_steps * ratio.denominator - hop.lag * ratio.numerator for hop in edges]
    reach = {name: 0 for hop in edges for name in (hop.source, hop.target)}
    came: dict[str, Hop] = {}
    last = ""
    for _ in range(len(reach) + 1):
        last = ""
        for hop, surplus in zip(edges, gain, strict=True):
            if reach[hop.source] + surplus > reach[hop.target]:
                reach[hop.target] = reach[hop.source] + surplus
                came[hop.target] = hop
                last = hop.target
        if not last:
            return None
    # what still grew hangs on a loop: walk back until a population comes twice
    seen: list[str] = []
    here = last
    while here not in seen:
        seen.append(here)
        here = came[here].source
    around = [came[here]]
    while around[-1].source != here:
        around.append(came[around[-1].source])
    loop = around[::-1]
    # told as a tick goes: it ends with the hop into the next one
    first = max((i + 1 for i, hop in enumerate(loop) if hop.lag), default=0)
    return Loop((*loop[first:], *loop[:first]))
