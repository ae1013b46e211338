"""Price tables: published models of what an event costs, by name, and a user's own in the same format.

A table is a TOML file (docs/energy.md describes it). Shipped ones lie in ndeploy/energy/price-tables/. A file may come
from a stranger: it is bounded in size, parsed by a parser that evaluates nothing, and every key, unit and value is
checked before use.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ndeploy.energy.units import quantity
from ndeploy.errors import UsageError
from ndeploy.prices import PRICED, Price, PriceTable, faults
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.target import Target

FOLDER = Path(__file__).parent / "price-tables"
UNUSABLE, UNKNOWN = "ND432", "ND433"
"""Codes of a file that cannot be used and of a name that is none."""
SCHEMA = "ndeploy.prices/1"
DEFAULT = "default"
LARGEST_FILE = 64 * 1024
"""Bytes of a file of prices; the shipped ones have a few thousand."""
LONGEST_TEXT = 2000
"""Characters of a source, a note or a title."""
MOST_NOTES = 100

# a key of thousands of parts takes the standard library's parser time that grows with its square
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]{0,99}"|'[^'\n]{0,99}')[ \t]*\.[ \t]*){9}""")

_TEXTS = ("name", "title", "node", "voltage", "scope", "source", "status")
_LISTS = ("targets", "notes")
_PARTS = ("energy", "time")
_KEYS = ("schema", *_TEXTS, *_LISTS, *_PARTS, "static", "covered")
_PRICE_KEYS = ("low", "nominal", "high", "scope", "source", "status", "note")


@cache
def names() -> tuple[str, ...]:
    """The shipped tables, in order of their names."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find(model: str, target: Target) -> PriceTable:
    """The table of that name ("default": the target's own) or in that .toml file.

    A table that does not speak of the target says so in its notes. Raises UsageError UNUSABLE for a table that
    cannot be used, naming file, key and value; UNKNOWN for a name that is none.
    """
    if model == DEFAULT:
        return target.table
    if model in names():
        table = load(FOLDER / f"{model}.toml")
    elif model.endswith(".toml") or "/" in model:
        table = load(Path(model))
    else:
        near = difflib.get_close_matches(model, (DEFAULT, *names()), n=1)
        raise UsageError(
            UNKNOWN,
            f"no price table is called '{printable(model[:LONGEST_TEXT])}' (known: {', '.join((DEFAULT, *names()))})",
            help=f"did you mean '{near[0]}'?" if near else "name one of these, or a .toml file of your own",
        )
    if table.targets and target.name not in table.targets:
        of = f"its constants are of {', '.join(table.targets)}, not of {target.name}"
        return replace(table, notes=(*table.notes, of))
    return table


def load(path: Path) -> PriceTable:
    """The table in a file. Raises UsageError UNUSABLE naming file, key and value."""
    return parse(_text(path), str(path))


def parse(text: str, file: str) -> PriceTable:
    """A table from its text; `file` stands in messages. Raises UsageError UNUSABLE."""
    return _Reader(printable(file), _toml(text, printable(file))).table()


def _text(path: Path) -> str:
    file = printable(str(path))
    try:
        with open(path, "rb") as opened:
            found = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        _refuse(file, "", f"cannot be read: {error.strerror or error}", "check the path and its permissions")
    if len(found) > LARGEST_FILE:
        _refuse(file, "", f"more than {LARGEST_FILE} bytes", "a table of prices has a few thousand")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(file, "", f"no UTF-8 text (byte {error.start})", "save it as UTF-8")


def _toml(text: str, file: str) -> dict[str, Any]:
    # tomllib is of Python 3.11; tomli is the same parser for 3.10
    parser = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    if _LONG_KEY.search(text):
        _refuse(file, "", "a key of ten parts or more", "keys have three parts at most: energy.EVENT.nominal")
    try:
        found: dict[str, Any] = parser.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(file, "", f"no TOML: {printable(str(error))[:LONGEST_TEXT]}", "see https://toml.io, and docs/energy.md")
    return found


def _refuse(file: str, key: str, why: str, help: str) -> NoReturn:
    where = f"'{file}', {key}" if key else f"'{file}'"
    raise UsageError(UNUSABLE, f"price table {where}: {why}", help=help)


class _Reader:
    """One parsed file on its way to a table."""

    def __init__(self, file: str, data: Mapping[str, Any]) -> None:
        self._file, self._data = file, data

    def table(self) -> PriceTable:
        """The checked table."""
        data = self._data
        self._known(data, _KEYS, "")
        if data.get("schema") != SCHEMA:
            help = f'write schema = "{SCHEMA}"; a file of a newer version needs a newer ndeploy'
            self._no("schema", f"{_shown(data.get('schema'))} where '{SCHEMA}' is needed", help)
        name = self._word("name", required=True)
        if name == DEFAULT:
            self._no("name", f"'{DEFAULT}' is the name of the target's own prices", "choose another")
        energy, time = (self._prices(part, unit) for part, unit in zip(_PARTS, ("J", "s"), strict=True))
        if not energy:
            self._no("energy", "missing: no event has a price", "give at least one, such as synaptic-op")
        static = self._price("static", "static", data["static"], "W", "static") if "static" in data else None
        table = PriceTable(
            name=name,
            title=self._word("title") or name,
            energy=energy,
            time=time,
            static_power=static,
            covered=self._covered(),
            targets=self._list("targets"),
            node=self._word("node"),
            voltage=self._word("voltage"),
            notes=self._list("notes"),
        )
        for path, why in faults(table):
            self._no(path, printable(why), "mend it; docs/energy.md describes every key")
        return table

    def _no(self, key: str, why: str, help: str) -> NoReturn:
        _refuse(self._file, printable(key), why, help)

    def _known(self, table: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
        for key in table:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                help = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(keys)}"
                self._no(f"{path}{key[:100]}", "unknown key", help)

    def _word(self, key: str, required: bool = False) -> str:
        """A text at the top of the file."""
        value = self._data.get(key, "")
        if not isinstance(value, str) or (required and not value.strip()):
            self._no(key, f"{_shown(value)} where a text is needed", f'write {key} = "..."')
        return self._short(key, value)

    def _short(self, key: str, value: str) -> str:
        if len(value) > LONGEST_TEXT:
            self._no(key, f"a text of {len(value)} characters", f"at most {LONGEST_TEXT} are read")
        return printable(value)

    def _list(self, key: str) -> tuple[str, ...]:
        values = self._data.get(key, [])
        if not isinstance(values, list) or len(values) > MOST_NOTES or not all(isinstance(v, str) for v in values):
            self._no(
                key, f"{_shown(values)} where a list of at most {MOST_NOTES} texts is needed", 'write ["...", "..."]'
            )
        return tuple(self._short(key, value) for value in values)

    def _part(self, key: str) -> Mapping[str, Any]:
        part = self._data.get(key, {})
        if not isinstance(part, dict):
            self._no(key, f"{_shown(part)} where a table is needed", f"write [{key}] and a line for each event")
        return part

    def _prices(self, part: str, unit: str) -> tuple[Price, ...]:
        found = []
        for event, entry in self._part(part).items():
            if event not in PRICED:
                near = difflib.get_close_matches(event, PRICED, n=1)
                help = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(PRICED)}"
                self._no(f"{part}.{event[:100]}", "unknown event", help)
            found.append(self._price(f"{part}.{event}", event, entry, unit, self._word("scope")))
        return tuple(found)

    def _price(self, path: str, name: str, entry: Any, unit: str, scope: str) -> Price:
        """A price: "23.6 pJ", or a table with nominal and perhaps low, high, scope, source, status, note."""
        if isinstance(entry, str):
            entry = {"nominal": entry}
        if not isinstance(entry, dict):
            self._no(
                path, f"{_shown(entry)} where a quantity or a table is needed", 'write "23.6 pJ" or { nominal = ... }'
            )
        self._known(entry, _PRICE_KEYS, f"{path}.")
        if "nominal" not in entry:
            self._no(f"{path}.nominal", "missing constant", "give it, or leave the event out: it then has no price")
        nominal = self._quantity(f"{path}.nominal", entry["nominal"], unit)
        low, high = (
            self._quantity(f"{path}.{key}", entry[key], unit) if key in entry else nominal for key in ("low", "high")
        )
        words = {}
        for key in ("scope", "source", "status", "note"):
            value = entry.get(key, "")
            if not isinstance(value, str):
                self._no(f"{path}.{key}", f"{_shown(value)} where a text is needed", f'write {key} = "..."')
            words[key] = self._short(f"{path}.{key}", value)
        source = words["source"] or self._word("source")
        if not source.strip():
            self._no(f"{path}.source", "no source", "say where the constant is from, here or at the top of the file")
        scope, status = words["scope"] or scope, words["status"] or self._word("status")
        return Price(name, low, nominal, high, unit, scope, source, status, words["note"])

    def _quantity(self, path: str, text: Any, unit: str) -> float:
        try:
            return quantity(text, unit)
        except ValueError as error:
            self._no(path, printable(str(error)), "prices are in J, times in s, static power in W, with a prefix")

    def _covered(self) -> dict[str, str]:
        found = self._part("covered")
        for event, holder in found.items():
            if not isinstance(holder, str):
                self._no(
                    f"covered.{event[:100]}", f"{_shown(holder)} where an event's name is needed", "name the price"
                )
        return {event: self._short(f"covered.{event[:100]}", holder) for event, holder in found.items()}


def _shown(value: object) -> str:
    """A value of a stranger's file, short."""
    return "nothing" if value in (None, "") else printable(repr(value)[:100])
