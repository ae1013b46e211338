"""Price tables: quantities, the shipped tables, a user's own, and files that nobody should trust."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from cli_runner import call
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.energy import tables
from ndeploy.energy.units import BASES, LONGEST, PREFIXES, quantity
from ndeploy.errors import UsageError
from ndeploy.plugins import targets
from ndeploy.prices import CHIP_EVENTS, HOST_EVENTS, PriceTable, faults

SHIPPED = (
    "davies2018",
    "kerasspiking-loihi",
    "kerasspiking-spinnaker",
    "kerasspiking-spinnaker2",
    "odin",
    "sanafe",
    "truenorth",
)
OWN = """
schema = "ndeploy.prices/1"
name = "mine"
title = "Our board"
targets = ["loihi2"]
node = "Intel 4"
voltage = "0.7 V"
scope = "incremental"
source = "our lab, 2026-03"
status = "derived"
notes = ["room temperature"]

[energy]
synaptic-op = "10 pJ"
neuron-update = { low = "20 pJ", nominal = "30 pJ", high = "0.05 nJ", note = "regression over ten networks" }

[time]
barrier = "1.2 us"

[static]
nominal = "230 mW"

[covered]
spike = "neuron-update"
"""


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as error:
        tables.parse(text, "my.toml")
    assert error.value.code == tables.UNUSABLE
    assert "my.toml" in error.value.message
    assert error.value.help
    return error.value


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("23.6 pJ", "J", 23.6e-12),
        ("3.5ns", "s", 3.5e-9),
        ("104 mW", "W", 0.104),
        ("1.8 µs", "s", 1.8e-6),
        ("1.8 μs", "s", 1.8e-6),
        ("1e3 fJ", "J", 1e-12),
        (" .5 J ", "J", 0.5),
        ("2 kW", "W", 2000.0),
        ("0 pJ", "J", 0.0),
    ],
)
def test_quantities(text: str, base: str, value: float) -> None:
    assert quantity(text, base) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "base", "word"),
    [
        ("23.6", "J", "no unit"),
        ("pJ", "J", "no quantity"),
        ("23.6 ns", "J", "'ns' is none of"),
        ("23.6 XJ", "J", "'XJ' is none of"),
        ("23.6 pj", "J", "'pj' is none of"),
        ("-1 pJ", "J", "negative"),
        ("1e400 J", "J", "not finite"),
        ("nan J", "J", "no quantity"),
        ("inf J", "J", "no quantity"),
        ("1 2 pJ", "J", "no quantity"),
        ("1__0 pJ", "J", "no quantity"),
        ("٣ pJ", "J", "no quantity"),
        ("", "J", "no quantity"),
        ("1" * (LONGEST + 1), "J", "characters"),
        (23.6, "J", "no quantity"),
        (None, "W", "no quantity"),
        (True, "s", "no quantity"),
    ],
)
def test_what_is_no_quantity_is_refused_with_its_reason(text: object, base: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        quantity(text, base)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1e6), st.sampled_from(sorted(PREFIXES)), st.sampled_from(BASES))
def test_a_quantity_is_its_number_times_its_prefix(number: float, prefix: str, base: str) -> None:
    assert quantity(f"{number!r} {prefix}{base}", base) == pytest.approx(number * PREFIXES[prefix], rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    try:
        value = quantity(text, "J")
    except ValueError:
        return
    assert value >= 0
    assert math.isfinite(value)


def test_the_shipped_tables_are_these() -> None:
    assert tables.names() == SHIPPED
    assert {path.stem for path in tables.FOLDER.iterdir() if path.suffix == ".toml"} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_table_is_whole(name: str) -> None:
    table = tables.find(name, targets()["loihi1"])
    assert table.name == name
    assert list(faults(table)) == []
    assert table.energy
    assert table.title
    assert table.node
    assert len({price.scope for price in table.energy}) == 1
    assert {event for event in table.covered if table.price(event) is not None} == set()


def energy(table: PriceTable, event: str) -> float:
    price = table.price(event)
    assert price is not None, event
    assert price.low == price.nominal == price.high
    return price.nominal * 1e12


def test_davies_constants() -> None:
    table = tables.find("davies2018", targets()["loihi1"])
    found = {event: energy(table, event) for event in CHIP_EVENTS if table.price(event)}
    assert found == pytest.approx(
        {
            "synaptic-op.dense": 23.6,
            "synaptic-op.sparse": 23.6,
            "synaptic-op.conv": 23.6,
            "neuron-update.active": 81,
            "neuron-update.idle": 52,
            "message": 1.7,
            "hop.east-west": 3.0,
            "hop.north-south": 4.0,
        }
    )
    assert {e for e in (*CHIP_EVENTS, *HOST_EVENTS) if not table.price(e) and e not in table.covered} == {
        "axon-in",
        "barrier",
        "chip-link",
        "embedded-op",
        *HOST_EVENTS,
    }


def test_sana_fe_constants() -> None:
    table = tables.find("sanafe", targets()["loihi1"])
    assert [energy(table, f"synaptic-op.{kind}") for kind in ("dense", "sparse", "conv")] == pytest.approx(
        [35.5, 33.6, 24.0]
    )
    assert energy(table, "neuron-update.active") == pytest.approx(51.2 + 21.6)
    idle = table.price("neuron-update.idle")
    assert idle is not None
    # SANA-FE updates a neuron whose membrane is not zero, though nothing came: ours is idle then, and bounded so
    assert [1e12 * joules for joules in (idle.low, idle.nominal, idle.high)] == pytest.approx([51.2, 51.2, 72.8])
    assert [energy(table, e) for e in ("spike", "message", "axon-in")] == pytest.approx([69.3, 111, 0])
    assert [energy(table, e) for e in ("hop.east-west", "hop.north-south")] == pytest.approx([3.0, 4.2])
    # the default of loihi1 has SANA-FE's constants as nominal, so that the two cannot drift apart
    own = targets()["loihi1"].table
    for price in table.energy:
        composed = own.price(price.name)
        if price.name != "axon-in":
            assert composed is not None
            assert composed.nominal == pytest.approx(price.nominal)


def test_all_in_tables_price_nothing_beside_what_they_hold() -> None:
    for name, scope in (("truenorth", "all-in"), ("odin", "all-in"), ("kerasspiking-loihi", "incremental")):
        table = tables.find(name, targets()["loihi1"])
        assert {price.scope for price in table.energy} == {scope}
    assert energy(tables.find("truenorth", targets()["loihi1"]), "synaptic-op") == pytest.approx(26)
    assert energy(tables.find("odin", targets()["loihi1"]), "synaptic-op") == pytest.approx(12.7)
    assert "static" in tables.find("odin", targets()["loihi1"]).covered


def test_default_is_the_targets_own() -> None:
    for name in ("loihi1", "loihi2"):
        assert tables.find("default", targets()[name]) == targets()[name].table


def test_a_table_of_another_chip_says_so() -> None:
    assert "of loihi1, not of loihi2" in tables.find("sanafe", targets()["loihi2"]).notes[-1]
    assert not any("not of" in note for note in tables.find("sanafe", targets()["loihi1"]).notes)


def test_an_unknown_name_is_refused_with_the_known() -> None:
    for name, word in (("sanfe", "did you mean 'sanafe'?"), ("xyz", "name one of these"), ("a\x1b" * 3000, "name one")):
        with pytest.raises(UsageError) as error:
            tables.find(name, targets()["loihi1"])
        assert error.value.code == tables.UNKNOWN
        assert word in error.value.help
        assert "davies2018" in error.value.message
        assert "\x1b" not in error.value.message
        assert len(error.value.message) < 10_000


def test_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(OWN)
    table = tables.find(str(tmp_path / "my.toml"), targets()["loihi2"])
    assert (table.name, table.title, table.node, table.voltage) == ("mine", "Our board", "Intel 4", "0.7 V")
    assert table.targets == ("loihi2",)
    assert table.notes == ("room temperature",)
    op, update = table.price("synaptic-op.conv"), table.price("neuron-update.idle")
    assert op is not None
    assert update is not None
    assert (op.low, op.nominal, op.high) == pytest.approx((10e-12,) * 3)
    assert (update.low, update.nominal, update.high) == pytest.approx((20e-12, 30e-12, 50e-12))
    assert (op.scope, op.source, op.status, update.note) == (
        "incremental",
        "our lab, 2026-03",
        "derived",
        "regression over ten networks",
    )
    barrier = table.duration("barrier")
    assert barrier is not None
    assert barrier.nominal == pytest.approx(1.2e-6)
    assert table.static_power is not None
    assert (table.static_power.nominal, table.static_power.scope) == (pytest.approx(0.23), "static")
    assert table.covered == {"spike": "neuron-update"}
    assert table.price("message") is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"10 pJ"', '"-10 pJ"', ("energy.synaptic-op.nominal", "-10 pJ", "negative")),
        ('"10 pJ"', '"10 px"', ("energy.synaptic-op.nominal", "10 px")),
        ('"10 pJ"', "10", ("energy.synaptic-op", "10", "quantity")),
        ('"10 pJ"', "{ nominal = 10 }", ("energy.synaptic-op.nominal", "10")),
        ('"10 pJ"', '"10 ns"', ("energy.synaptic-op.nominal", "10 ns")),
        ('"10 pJ"', '{ low = "1 pJ" }', ("energy.synaptic-op.nominal", "missing constant")),
        ('"10 pJ"', '{ nominal = "1 pJ", lower = "1 pJ" }', ("energy.synaptic-op.lower", "unknown key")),
        ('"10 pJ"', '{ nominal = "1 pJ", note = 3 }', ("energy.synaptic-op.note", "3")),
        ('"10 pJ"', '{ nominal = "1 pJ", scope = "all-in" }', ("energy", "all-in and incremental")),
        ('"10 pJ"', '{ nominal = "1 pJ", scope = "some" }', ("energy.synaptic-op", "'some'")),
        ('"10 pJ"', '{ nominal = "1 pJ", status = "rumour" }', ("energy.synaptic-op", "'rumour'")),
        ('"10 pJ"', '{ nominal = "1 pJ", status = "unverified" }', ("energy.synaptic-op", "without a note")),
        ("synaptic-op =", "synaptic-ops =", ("energy.synaptic-ops", "unknown event")),
        ('low = "20 pJ"', 'low = "31 pJ"', ("energy.neuron-update", "order")),
        ('high = "0.05 nJ"', 'high = "0.02 nJ"', ("energy.neuron-update", "order")),
        ('source = "our lab, 2026-03"', "", ("energy.synaptic-op.source", "no source")),
        ('source = "our lab, 2026-03"', 'source = " "', ("energy.synaptic-op.source", "no source")),
        ('status = "derived"', "", ("energy.synaptic-op", "status ''")),
        ('scope = "incremental"', "", ("energy.synaptic-op", "scope ''")),
        ('scope = "incremental"', "scope = 3", ("scope", "3")),
        ('"230 mW"', '"230 mJ"', ("static.nominal", "230 mJ")),
        ('nominal = "230 mW"', "", ("static.nominal", "missing")),
        ('scope = "incremental"', 'scope = "all-in"', ("static_power", "all-in")),
        ('"ndeploy.prices/1"', '"ndeploy.prices/2"', ("schema", "ndeploy.prices/2")),
        ('schema = "ndeploy.prices/1"', "", ("schema", "nothing")),
        ('name = "mine"', "", ("name", "nothing")),
        ('name = "mine"', 'name = "default"', ("name", "'default'")),
        ('title = "Our board"', 'titel = "Our board"', ("titel", "unknown key")),
        ('title = "Our board"', 'title = "' + "x" * 3000 + '"', ("title", "3000 characters")),
        ('targets = ["loihi2"]', 'targets = "loihi2"', ("targets", "list")),
        ('notes = ["room temperature"]', "notes = [1]", ("notes", "[1]")),
        ('spike = "neuron-update"', 'spike = "message"', ("covered.spike", "'message'")),
        ('spike = "neuron-update"', "spike = 3", ("covered.spike", "3")),
        ('spike = "neuron-update"', 'spook = "neuron-update"', ("covered.spook", "unknown event")),
        ('spike = "neuron-update"', 'synaptic-op = "neuron-update"', ("covered.synaptic-op", "of its own")),
        ("[time]", "[[time]]", ("time", "table")),
        ("[energy]", "[energy", ("no TOML",)),
        ("[energy]", "[energie]", ("energie", "unknown key")),
        ('title = "Our board"', "x" + ".x" * 20_000 + " = 1", ("ten parts",)),
        ('title = "Our board"', '"a"' + ' . "a"' * 20_000 + " = 1", ("ten parts",)),
        ('title = "Our board"', "title = " + "[" * 20_000, ("no TOML",)),
        ('title = "Our board"', "title = " + "9" * 20_000, ("no TOML",)),
        ('title = "Our board"', "title = 1999-99-99", ("no TOML",)),
    ],
)
def test_a_broken_file_is_refused_by_key_and_value(old: str, new: str, words: tuple[str, ...]) -> None:
    assert OWN.count(old) == 1
    error = refused(OWN.replace(old, new))
    for word in words:
        assert word in error.message, error.message
    assert len(error.message) < 4000


def test_a_table_needs_an_energy() -> None:
    head = OWN.partition("[energy]")[0]
    assert "energy: missing" in refused(head).message.replace("', ", " ")


def test_names_in_a_file_cannot_move_the_cursor() -> None:
    error = refused(OWN.replace("synaptic-op =", '"a\\u001b[2J" ='))
    assert "\x1b" not in str(error)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet='[]{}"=.\n\\abcsynaptic-op 0123pJ', max_size=300))
def test_any_text_is_a_table_or_refused(text: str) -> None:
    for whole in (text, OWN + text, OWN.replace("10 pJ", text)):
        code = tables.UNUSABLE
        try:
            tables.parse(whole, "my.toml")
        except UsageError as error:
            code = error.code
        assert code == tables.UNUSABLE


@pytest.mark.parametrize(
    ("content", "word"), [(b"\xff\xfe", "UTF-8"), (b"#" * (tables.LARGEST_FILE + 1), "bytes"), (None, "cannot be read")]
)
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "my.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        tables.find(str(path), targets()["loihi1"])
    assert error.value.code == tables.UNUSABLE
    assert word in error.value.message
    assert str(path) in error.value.message


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        tables.find(str(tmp_path), targets()["loihi1"])
    assert error.value.code == tables.UNUSABLE


def test_the_example_in_the_docs_is_a_table() -> None:
    text = (Path(__file__).parent.parent / "docs" / "energy.md").read_text()
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert tables.parse(example, "docs/energy.md").energy


def test_the_command_lists_and_shows_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listed = call(capsys, "targets", "prices").out
    assert all(name in listed for name in ("default", *SHIPPED))
    shown = call(capsys, "targets", "prices", "sanafe").out
    assert "35.5 pJ" in shown
    assert "SANA-FE" in shown
    made: dict[str, Any] = json.loads(call(capsys, "targets", "prices", "--json").out)
    assert [table["name"] for table in made["tables"]] == ["default", *SHIPPED]
    one = json.loads(call(capsys, "targets", "prices", "davies2018", "--json", "--target", "loihi1").out)
    assert one["covered"]["spike"] == "neuron-update"
    assert {"name", "low", "nominal", "high", "unit", "scope", "source", "status", "note"} == one["energy"][0].keys()
    (tmp_path / "my.toml").write_text(OWN.replace("10 pJ", "-10 pJ"))
    found = call(capsys, "targets", "prices", str(tmp_path / "my.toml"))
    assert found.code == 2
    assert tables.UNUSABLE in found.err


def test_the_text_of_a_target_says_what_is_covered(capsys: pytest.CaptureFixture[str]) -> None:
    shown = call(capsys, "targets", "show", "loihi2").out
    assert "in another price already" in shown
    assert "axon-in" in shown
    assert "mesh.width" in shown
