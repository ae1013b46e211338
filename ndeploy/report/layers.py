"""Why a program has the widths it has: the explanation that a searching method leaves, as tables.

An artifact comes from a stranger, and so does the explanation in it: what is not of the type it should be is shown as
a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ndeploy.search.explanation import Explanation

BUDGETS: Mapping[str, str] = {
    "mean_bits": "{:.4g} weight bits on average",
    "memory_bytes": "{} of synaptic memory",
    "spike_bits": "{:.4g} message bits on average",
    "operations": "{}bit operations a sample (S-ACE)",
    "energy_joules": "{} a sample",
    "accuracy_points": "at most {:.4g} points of accuracy lost",
}
"""How each budget of `budget.Budget` is said."""
COSTS: Mapping[str, str] = {"bb": "BB", "s_ace": "S-ACE", "ns_ace": "NS-ACE"}
"""Bit operations as Shen et al. name them (arXiv 2311.10802)."""


NAME_WIDTH = 26


def kept(explanation: Explanation | None) -> dict[str, Any] | None:
    """What the artifact keeps: plain data, with None for numbers that JSON does not have.

    Notes are of this run alone (an interrupted search says where it went on from) and stay out: the same input gives
    the same bytes.
    """
    if explanation is None:
        return None
    return {key: _finite(value) for key, value in explanation.to_json().items() if key != "notes"}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def report(found: object, notes: Sequence[str] = ()) -> list[RenderableType]:
    """The tables of an explanation as `kept` gives it, and notes of the run; nothing where there is none."""
    if not isinstance(found, Mapping) or not found:
        return []
    parts: list[RenderableType] = ["[bold]quantisation[/bold]", style.facts(headline(found))]
    rows = _rows(found.get("layers"))
    if rows:
        parts += ["", layers(rows)]
    signals = _rows(found.get("signals"))
    if signals:
        parts += [_signals(signals)]
    return [*parts, *(style.plain(note) for note in notes)]


def headline(found: Mapping[str, Any]) -> dict[str, str]:
    """What was asked, what was found, and what it cost."""
    method = found.get("method")
    facts = {"method": method if isinstance(method, str) else "-"}
    asked = budgets(found.get("budget"))
    if asked:
        facts["budget"] = ", ".join(asked)
    facts["weights"] = (
        f"{_number(found.get('mean_bits'), '{:.2f}')} bits on average, {_bytes(found.get('memory_bytes'))} as packed"
    )
    accuracy, original = found.get("accuracy"), found.get("float_accuracy")
    agreement = found.get("labels") == "float model"
    if _is_number(accuracy):
        what = "agreement with the float network" if agreement else "calibration accuracy"
        float_ = f" (float {style.percent(original)})" if _is_number(original) and not agreement else ""
        facts[what] = f"{style.percent(accuracy)}{float_}"
    if _is_number(found.get("loss")):
        facts["calibration loss"] = f"{found['loss']:.4g}"
    costs = found.get("costs")
    if isinstance(costs, Mapping):
        numbers = {name: costs.get(key) for key, name in COSTS.items()}
        told = [f"{name} {style.si(number)}" for name, number in numbers.items() if _is_number(number)]
        if told:
            facts["bit operations"] = ", ".join(told)
    if _is_number(found.get("evaluations")) and found["evaluations"]:
        facts["programs measured"] = f"{found['evaluations']:.0f}"
    if isinstance(found.get("limits"), str) and found["limits"]:
        facts["what limits it"] = found["limits"]
    return facts


def budgets(asked: object) -> list[str]:
    """Every budget asked for, in words; `asked` as `Explanation.budget` keeps it."""
    if not isinstance(asked, Mapping):
        return []
    found = []
    for name, words in BUDGETS.items():
        value = asked.get(name)
        if not _is_number(value):
            continue
        if name == "memory_bytes":
            found.append(words.format(_bytes(value)))
        elif name in ("operations", "energy_joules"):
            unit = style.si(value, "J" if name == "energy_joules" else "")
            # "40 M" and "bit operations" are two words, "1.2 mJ" is one
            found.append(words.format(f"{unit} " if name == "operations" else unit))
        else:
            found.append(words.format(value))
    return found


def layers(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a layer; the bar is its share of the loss that quantisation adds."""
    alone = any(_is_number(row.get("accuracy_alone")) for row in rows)
    columns = ["layer", ">bits", ">weights", "scale", ">memory", ">loss", ""]
    title = "widths of weights, and why (loss: the layer's share of what narrow weights add to the loss"
    title += "; alone: answers right if only it were narrow)" if alone else ")"
    table = style.grid(title, *columns, *([">alone"] if alone else []), "why")
    # what a layer is called stays in one piece, reasons wrap
    table.columns[0].min_width = min(NAME_WIDTH, max(len(_text(row.get("name"))) for row in rows))
    for row in rows:
        share, weights = row.get("loss_share"), row.get("parameters")
        cells = [
            _text(row.get("name")),
            _number(row.get("bits"), "{:.0f}"),
            style.si(weights) if _is_number(weights) else "-",
            _text(row.get("scale")),
            _bytes(row.get("bytes")),
            f"{100 * share:.1f} %" if _is_number(share) else "-",
            f"[cyan]{style.bar(share, 5)}[/cyan]" if _is_number(share) else "",
        ]
        if alone:
            cells.append(style.percent(row["accuracy_alone"]) if _is_number(row.get("accuracy_alone")) else "-")
        table.add_row(*cells, _text(row.get("why"), ""))
    return table


def _signals(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a population: how wide its messages and its state are, and how that is known to suffice."""
    table = style.grid("widths of messages and states", "population", ">message", ">state", "range", "why")
    for row in rows:
        table.add_row(
            _text(row.get("name")),
            _number(row.get("payload_bits"), "{:.0f}"),
            _number(row.get("state_bits"), "{:.0f}"),
            _text(row.get("proof")),
            _text(row.get("why"), ""),
        )
    return table


def _rows(found: object) -> list[Mapping[str, Any]]:
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list | tuple) else []


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _number(value: Any, words: str) -> str:
    return words.format(value) if _is_number(value) else "-"


def _bytes(value: Any) -> str:
    return style.size_in_bytes(int(value)) if _is_number(value) and value >= 0 else "-"


def _text(value: object, without: str = "-") -> str:
    return style.plain(value) if isinstance(value, str) and value else without
