"""The options of a search for widths, and what they mean together: budgets, how to search, fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ndeploy.budget import Budget

Method = Annotated[
    str | None,
    typer.Option("--method", help="How widths are chosen. Default: uniform; bit-budget where a budget is given."),
]
BitBudget = Annotated[str | None, typer.Option("--bit-budget", metavar="B", help="Mean bits of the weights: 3.5.")]
MemoryBudget = Annotated[
    str | None, typer.Option("--memory-budget", metavar="SIZE", help="Synaptic memory as the target packs it: 64KiB.")
]
SpikeBits = Annotated[str | None, typer.Option("--spike-bits", metavar="B", help="Mean bits of graded messages: 6.")]
OpsBudget = Annotated[
    str | None, typer.Option("--ops-budget", metavar="N", help="Bit operations a sample (S-ACE): 40M.")
]
EnergyBudget = Annotated[
    str | None, typer.Option("--energy-budget", metavar="E", help="Nominal dynamic energy of a sample: 20uJ.")
]
Steps = Annotated[
    str | None,
    typer.Option("--steps", metavar="T|auto", help="Model steps a sample; auto: as many as the budgets leave."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is random in a search or in training.")]
Workers = Annotated[
    str,
    typer.Option("--workers", metavar="N|tcp://HOST:PORT", help="Local processes, or a dask scheduler, that measure."),
]
Journal = Annotated[
    Path | None,
    typer.Option("--journal", help="Keeps what a search has measured until it ends well. Default: beside the output."),
]
Bits = Annotated[int | None, typer.Option("--bits", min=2, max=16, help="Bits of every weight. Default: 8.")]
ActivationBits = Annotated[
    int | None, typer.Option("--activation-bits", min=2, max=16, help="Bits of a graded message.")
]

BITS = 8
UNIFORM, SEARCHING = "uniform", "bit-budget"
CHOOSING_NOTHING = (UNIFORM, "taken-over")
"""Methods that choose no widths: a budget for them would be passed over."""


@dataclass(frozen=True)
class Given:
    """Budgets as texts, None where not given; `accuracy` only where it is a budget of the search."""

    bit: str | None = None
    memory: str | None = None
    spike: str | None = None
    operations: str | None = None
    energy: str | None = None
    accuracy: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """What is given, by option."""
        all_ = {
            "--bit-budget": self.bit,
            "--memory-budget": self.memory,
            "--spike-bits": self.spike,
            "--ops-budget": self.operations,
            "--energy-budget": self.energy,
            "--accuracy-budget": self.accuracy,
        }
        return {option: text for option, text in all_.items() if text is not None}

    def budget(self) -> Budget:
        """The numbers. Raises UsageError ND307."""
        from ndeploy import budget

        return budget.Budget(
            mean_bits=None if self.bit is None else budget.mean_bits(self.bit),
            memory_bytes=None if self.memory is None else budget.memory(self.memory),
            spike_bits=None if self.spike is None else budget.mean_bits(self.spike, "--spike-bits"),
            operations=None if self.operations is None else budget.operations(self.operations),
            energy_joules=None if self.energy is None else budget.energy(self.energy),
            accuracy_points=None if self.accuracy is None else budget.points(self.accuracy),
        )


def consistent(given: Given, method: str | None, bits: int | None, activation_bits: int | None) -> None:
    """A usage error (exit 2) for options that contradict each other."""
    if given.bit is not None and bits is not None:
        raise typer.BadParameter("is the mean; leave out --bits, which is every weight's", param_hint="--bit-budget")
    if given.spike is not None and activation_bits is not None:
        raise typer.BadParameter(
            "is the mean; leave out --activation-bits, which is every message's", param_hint="--spike-bits"
        )
    if method in CHOOSING_NOTHING:
        for option in given.options:
            raise typer.BadParameter(f"is for a method that searches, not --method {method}", param_hint=option)


def chosen_method(method: str | None, given: Given) -> str:
    """The method's name; what is not given follows from the budgets. Raises UsageError ND205 for an unknown one."""
    from ndeploy import plugins
    from ndeploy.errors import UsageError

    name = method if method is not None else SEARCHING if given.options else UNIFORM
    known = plugins.methods()
    if name not in known:
        raise UsageError(
            "ND205", f"unknown quantisation method '{name}'", help=f"choose one of {', '.join(sorted(known))}"
        )
    return name


def steps(text: str | None, given: Given) -> tuple[int | None, bool]:
    """Steps and whether fewer may be chosen. A usage error (exit 2) for what is none, and for auto without a reason."""
    if text is None:
        return None, False
    if text.strip().isascii() and text.strip().isdigit():
        return _number(text), False
    from ndeploy.search.steps import asked_steps

    number, auto = asked_steps(text)
    if auto and not (given.operations or given.energy or given.accuracy):
        raise typer.BadParameter(
            "auto needs --ops-budget, --energy-budget or --accuracy-budget: nothing else speaks for fewer steps",
            param_hint="--steps",
        )
    return number, auto


def _number(text: str) -> int:
    number = int(text) if len(text) < 20 else 0
    if not 1 <= number < 1 << 63:
        raise typer.BadParameter(f"{text} is no number of model steps from 1 up", param_hint="--steps")
    return number


def journal_beside(output: Path) -> Path:
    """Where a search keeps what it has measured unless told otherwise."""
    return output.with_name(output.name + ".search.jsonl")
