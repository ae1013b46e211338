"""Chip steps of a run of several samples, one after another, in one Lava execution.

numpy only: the Lava worker imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.ir.program import Population, Product, Program, Projection, lag


@dataclass(frozen=True)
class Moment:
    """What a chip step is for one population.

    active: it updates, for model step `step` of sample `sample`. keep: input that arrives now and finds no update waits
    for the next one; otherwise it belongs to no update of this sample and is lost, as a cleared sample loses it.
    """

    active: bool
    keep: bool
    sample: int = 0
    step: int = 0


@dataclass(frozen=True)
class Schedule:
    """steps, period as in Program; window: chip steps between the starts of two samples; samples: how many."""

    steps: int
    period: int
    window: int
    samples: int

    def at(self, time: int, offset: int) -> Moment:
        """Chip step `time` (from 0) as a population of that offset sees it."""
        sample, since = divmod(time - offset, self.window)
        if sample < 0:
            return Moment(active=False, keep=sample == -1 and self.window - since < self.period)
        if sample >= self.samples:
            return Moment(active=False, keep=False)
        step, phase = divmod(since, self.period)
        if step >= self.steps:
            return Moment(active=False, keep=self.window - since < self.period)
        if phase == 0:
            return Moment(active=True, keep=True, sample=sample, step=step)
        # after the last update only what arrives less than a period before the next sample's first one is kept
        keep = step < self.steps - 1 or self.window - since < self.period
        return Moment(active=False, keep=keep)

    def time(self, sample: int, step: int, offset: int) -> int:
        """The chip step of an update."""
        return sample * self.window + offset + step * self.period

    def total(self, latency: int) -> int:
        """Chip steps until the last update of the last sample is done."""
        return (self.samples - 1) * self.window + latency + (self.steps - 1) * self.period + 1


def updates_of(program: Program, population: Population) -> int:
    """Updates the population makes in a sample, at model steps 0 .. this - 1."""
    return program.steps if population.updates is None else min(population.updates, program.steps)


def longest_delay(projection: Projection) -> int:
    """Largest delay of its synapses, in chip steps."""
    extra = 0 if projection.delays is None or not projection.delays.size else int(np.max(projection.delays))
    return projection.delay + extra


def projection_lag(program: Program, projection: Projection) -> int:
    """Largest lag of its synapses, in model steps."""
    return lag(program, projection.source, projection.target, longest_delay(projection))


def product_lag(program: Program, product: Product) -> int:
    """Lag in model steps from the later operand to the target."""
    later = max((product.left, product.right), key=lambda name: program.population(name).offset)
    return lag(program, later, product.target, product.delay)


def window_of(program: Program) -> int:
    """Chip steps between two samples such that no message of one can reach the other.

    With all lags zero every message meets the update it is meant for, so samples follow each other at once; otherwise
    the next sample waits until the last message in flight has arrived.
    """
    busy = program.steps * program.period
    lags = [projection_lag(program, p) for p in program.projections]
    lags += [product_lag(program, p) for p in program.products]
    if not any(lags):
        return busy
    delays = [longest_delay(p) for p in program.projections] + [p.delay for p in program.products]
    return busy + program.latency + max(delays)
