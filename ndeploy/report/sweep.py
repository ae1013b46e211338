"""A sweep's rows for the terminal, as plain data and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ndeploy.energy.compare import QUANTITIES
from ndeploy.energy.ranges import Range, plain
from ndeploy.report import csv_rows, style
from ndeploy.report.energy_page.numbers import interval, quantity
from ndeploy.sweep_rows import BEATEN, BEST, OPEN, Measured, Refusal, Row, quality, standing, varying

if TYPE_CHECKING:
    from rich.console import RenderableType

HEADINGS = {
    "target": "target",
    "bits": "bits",
    "steps": "steps",
    "activation_bits": "message bits",
    "attention": "attention",
    "place": "placed for",
}
"""Fields of a case as a table calls them."""
SAID = {
    BEST: "on the frontier",
    OPEN: "open: another is as accurate and nominally cheaper, within the bounds",
    BEATEN: "beaten whatever the constants",
    "": "",
}
SHORT = {BEST: "[green]frontier[/green]", OPEN: "open", BEATEN: "[dim]beaten[/dim]", "": ""}


@dataclass(frozen=True)
class Swept:
    """A sweep as it is shown. model: the file's name; data: that of the samples; command: what reproduces it; notes:
    of workers and journal."""

    model: str
    data: str
    rows: tuple[Row, ...]
    command: str = ""
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Measured, ...]:
        """Results, without what was refused."""
        return tuple(row.measured for row in self.rows if row.measured is not None)

    @cached_property
    def standings(self) -> tuple[str, ...]:
        """What is said of each row beside the others."""
        return standing(self.rows)

    @property
    def float_accuracies(self) -> dict[int, float]:
        """The float network's, by the number of model steps, where it is known."""
        return {m.steps: m.float_accuracy for m in self.measured if m.float_accuracy is not None}

    @property
    def float_accuracy(self) -> float | None:
        """The float network's; None where it is not known or differs between rows (with the number of steps)."""
        found = set(self.float_accuracies.values())
        return found.pop() if len(found) == 1 else None


def beside(swept: Swept) -> str:
    """What accuracies are to be read with: the float network's, and what one sample counts."""
    found = swept.float_accuracies
    said = []
    if swept.float_accuracy is not None:
        said.append(f"The float network: {style.percent(swept.float_accuracy)}.")
    elif found:
        each = ", ".join(
            f"{style.percent(share)} at {style.many(steps, 'step')}" for steps, share in sorted(found.items())
        )
        said.append(f"The float network: {each}.")
    samples = {m.samples for m in swept.measured if m.accuracy is not None}
    said += [f"Of {style.many(n, 'sample')}, one is {100 / n:.2g} points." for n in sorted(samples)]
    return " ".join(said)


def shown(row: Row, name: str) -> str:
    """A field of the case as text; steps that ran where none were asked for."""
    value = getattr(row.case, name)
    if value is None:
        ran = row.measured.steps if name == "steps" and row.measured is not None else None
        return "-" if ran is None else str(ran)
    return str(value)


def what(swept: Swept) -> str:
    """What the shares of right answers are of."""
    if all(m.accuracy is None for m in swept.measured):
        return "loss"
    agree = any(m.labels == "float model" for m in swept.measured)
    return "agreement with float" if agree else "accuracy"


def answered(measured: Measured) -> str:
    """Accuracy, or the loss where the network gives no answers."""
    if measured.accuracy is not None:
        return style.percent(measured.accuracy)
    return "not known" if measured.loss is None else f"{measured.loss:.4g}"


def dynamic(measured: Measured) -> tuple[str, str]:
    """Nominal dynamic energy and its interval; a bound where a term has no price."""
    energy = measured.cost.quantities["energy"]
    if energy is not None:
        return quantity(energy.nominal, "J"), interval(energy, "J")
    if measured.bound is not None:
        return f"> {quantity(measured.bound.low, 'J')}", "priced terms only"
    return "no total", "no price" if measured.unpriced else ""


def verdict(swept: Swept) -> str:
    """What the sweep says, in a sentence or two."""
    rows, places = swept.rows, swept.standings
    best = [row for row, place in zip(rows, places, strict=True) if place == BEST]
    refused = sum(row.refusal is not None for row in rows)
    said = f"{len(rows) - refused} of {style.many(len(rows), 'combination')} can be built."
    if not best:
        return said + (" None has a dynamic energy: the prices of some events are not known." if swept.measured else "")
    cheapest = min(best, key=_nominal)
    # best rows have been measured, so each has a quality
    most = min(best, key=lambda row: (-(quality(row) or 0.0), _nominal(row)))
    if cheapest is most:
        return f"{said} {_told(most)}: none is better, and none takes less."
    open_ = sum(place == OPEN for place in places)
    doubt = "" if not open_ else f" {open_} more cannot be excluded: the bounds of the constants allow either order."
    return f"{said} The most accurate is {_told(most)}; the least energy takes {_told(cheapest)}.{doubt}"


def _told(row: Row) -> str:
    measured = row.measured
    if measured is None:
        return row.case.named
    right = f"loss {answered(measured)}" if measured.accuracy is None else answered(measured)
    return f"{row.case.named} ({right}, {' for '.join(dynamic(measured)[:1])})"


def _nominal(row: Row) -> float:
    energy = None if row.measured is None else row.measured.cost.quantities["energy"]
    return float("inf") if energy is None else energy.nominal


def report(swept: Swept) -> list[RenderableType]:
    """The table, then why combinations were refused, then what to beware of."""
    names = varying(swept.rows)
    table = style.grid(
        style.plain(f"{swept.model} on {swept.data}, energy and latency of a sample"),
        *(HEADINGS[name] for name in names),
        f">{what(swept)}",
        ">cores",
        ">memory",
        ">dynamic",
        ">low to high",
        ">all energy",
        ">latency",
        "",
    )
    for row, place in zip(swept.rows, swept.standings, strict=True):
        case = [style.plain(shown(row, name)) for name in names]
        table.add_row(*case, *(_refused(row.refusal) if row.refusal else _cells(row, place)))
    parts: list[RenderableType] = [style.plain(verdict(swept)), "", table]
    parts.append(style.plain(beside(swept)))
    refused = refusals(swept)
    if refused:
        parts += ["\n[bold]refused[/bold]", *(style.plain(f"- {line}") for line in refused)]
    told = warnings(swept)
    if told:
        parts += ["\n[bold yellow]beware[/bold yellow]", *(style.plain(f"- {line}") for line in told)]
    return parts


def _refused(refusal: Refusal) -> list[str]:
    return [f"[red]{refusal.code}[/red]", "", "", "", "", "", "", "refused"]


def _cells(row: Row, place: str) -> list[str]:
    measured = row.measured
    if measured is None:
        return []
    total, latency = measured.cost.quantities["total"], measured.cost.quantities["latency"]
    return [
        answered(measured),
        _cores(measured),
        style.size_in_bytes(measured.memory_bytes),
        *dynamic(measured),
        "-" if total is None else quantity(total.nominal, "J"),
        "-" if latency is None else quantity(latency.nominal, "s"),
        SHORT[place],
    ]


def _cores(measured: Measured) -> str:
    chips = f" on {measured.chips}" if measured.chips > 1 else ""
    return f"{measured.cores}{chips}" if measured.cores else "-"


def refusals(swept: Swept) -> list[str]:
    """Why combinations were refused, each reason once with the rows it is of."""
    found: dict[str, list[Row]] = {}
    for row in swept.rows:
        if row.refusal is not None:
            text = f"[{row.refusal.code}] {row.refusal.message} ({row.refusal.help})"
            found.setdefault(text, []).append(row)
    return [f"{_whose(rows, swept.rows)}{text}" for text, rows in found.items()]


def warnings(swept: Swept) -> list[str]:
    """What the compiler and the data had to say, each once with the rows it is of; overflow; notes of the workers."""
    found: dict[str, list[Row]] = {}
    measured = [row for row in swept.rows if row.measured is not None]
    for row in measured:
        for code, message in row.measured.warnings if row.measured else ():
            found.setdefault(f"[{code}] {message}", []).append(row)
    lines = [f"{_whose(rows, measured)}{text}" for text, rows in found.items()]
    over = {row.case: n for row in measured if (n := row.measured.overflow if row.measured else 0)}
    if over:
        rows = [row for row in measured if row.case in over]
        times = f"{min(over.values())} to {max(over.values())}" if len(set(over.values())) > 1 else min(over.values())
        lines.append(f"{_whose(rows, measured)}states left their width {times} times, all samples together")
    return [*lines, *swept.notes]


def _whose(rows: Sequence[Row], every: Sequence[Row]) -> str:
    """Which rows, where it is not all of them: targets if all rows of those, else by name."""
    if len(rows) == len(every):
        return ""
    targets = list(dict.fromkeys(row.case.target for row in rows))
    if len(rows) == sum(row.case.target in targets for row in every):
        return f"{', '.join(targets)}: "
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{'; '.join(row.case.named for row in rows[:3])}{more}: "


# -- plain data --------------------------------------------------------------------------------------------------------


def fields(swept: Swept) -> dict[str, Any]:
    """The object of `--json` (schema ndeploy.sweep/1)."""
    places = swept.standings
    return {
        "model": swept.model,
        "data": swept.data,
        "command": swept.command,
        "verdict": verdict(swept),
        "rows": [_fields(row, place) for row, place in zip(swept.rows, places, strict=True)],
        "notes": list(swept.notes),
    }


def _fields(row: Row, place: str) -> dict[str, Any]:
    case, refusal, measured = row.case, row.refusal, row.measured
    asked = {name: getattr(case, name) for name in HEADINGS}
    refused = None
    if refusal is not None:
        refused = {"code": refusal.code, "message": refusal.message, "help": refusal.help}
    if measured is None:
        return {**asked, "refused": refused}
    cost = measured.cost
    return {
        **asked,
        "refused": None,
        "standing": place or None,
        "samples": measured.samples,
        "labels": measured.labels or None,
        "accuracy": measured.accuracy,
        "float_accuracy": measured.float_accuracy,
        "loss": measured.loss,
        **{
            f"{name}_{'joules' if unit == 'J' else 'seconds'}": plain(cost.quantities[name])
            for name, (_, unit) in QUANTITIES.items()
        },
        "bound_joules": plain(measured.bound),
        "prices": cost.model,
        "terms": {term.name: {"count": term.count, **plain(term.energy)} for term in cost.terms},
        "unpriced": list(measured.unpriced),
        "cores": measured.cores,
        "cores_lower_bound": measured.cores_lower_bound,
        "chips": measured.chips,
        "weight_memory_bytes": measured.memory_bytes,
        "weight_bits_mean": measured.weight_bits_mean,
        "neurons": measured.neurons,
        "model_steps": measured.steps,
        "chip_steps": measured.chip_steps,
        "mode": measured.mode,
        "overflow": measured.overflow,
        "warnings": [{"code": code, "message": message} for code, message in measured.warnings],
    }


def csv_text(swept: Swept) -> str:
    """A row for every combination; what was refused has its code and message."""
    header = [*HEADINGS, "accuracy", "float_accuracy", "loss", "samples", "cores", "cores_lower_bound", "chips"]
    header += ["weight_memory_bytes", "model_steps", "chip_steps", "prices"]
    for name, (_, unit) in QUANTITIES.items():
        header += [f"{name}_{bound}_{unit}" for bound in ("low", "nominal", "high")]
    header += ["standing", "code", "message"]
    places = swept.standings
    return csv_rows.text(header, [_line(row, place) for row, place in zip(swept.rows, places, strict=True)])


def _line(row: Row, place: str) -> list[object]:
    case: list[object] = [getattr(row.case, name) for name in HEADINGS]
    m = row.measured
    if m is None:
        empty: list[object] = [None] * (11 + 3 * len(QUANTITIES))
        return [*case, *empty, "refused", row.refusal and row.refusal.code, row.refusal and row.refusal.message]
    numbers = [m.accuracy, m.float_accuracy, m.loss, m.samples, m.cores, m.cores_lower_bound, m.chips]
    line = [*case, *numbers, m.memory_bytes, m.steps, m.chip_steps, m.cost.model]
    for name in QUANTITIES:
        line += _ends(m.cost.quantities[name])
    return [*line, place, None, None]


def _ends(value: Range | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.low, value.nominal, value.high)
