"""Settings: precedence, provenance, refusals; presets: complete and sourced."""

from __future__ import annotations

import pytest

from ndeploy.errors import UsageError
from ndeploy.ir.network import Semantics
from ndeploy.presets import PRESETS
from ndeploy.settings import Settings


def test_precedence_set_preset_file_default():
    settings = Settings.parse(["source=snntorch", "dt=2e-4"])
    semantics = settings.semantics({"dt": 5e-4, "reset": "subtract"})
    assert semantics.dt == 2e-4
    assert semantics.reset == "zero"
    assert settings.record["dt"] == {"value": 2e-4, "from": "--set"}
    assert settings.record["reset"] == {"value": "zero", "from": "preset snntorch"}
    assert settings.record["source"] == {"value": "snntorch", "from": "--set"}
    bare = Settings()
    assert bare.semantics({"reset": "subtract"}).reset == "subtract"
    assert bare.record["reset"] == {"value": "subtract", "from": "file"}
    assert bare.record["compare"] == {"value": "gt", "from": "default"}


def test_last_of_a_key_counts_and_unused_keys_are_listed():
    settings = Settings.parse(["steps=3", "steps=6", "stpes=4"])
    assert settings.get("steps", int, None, "data") == 6
    assert settings.unused() == ("stpes",)


@pytest.mark.parametrize(
    ("items", "allowed"),
    [
        (["source=brian"], "snntorch, norse, spikingjelly, rockpool, spinnaker2, lava"),
        (["reset=soft"], "zero, subtract, delayed-zero, delayed-subtract, none"),
        (["integrator=rk4"], "euler, exponential"),
        (["dt=fast"], "a number"),
        (["dt=nan"], "a finite number"),
        (["dt=-1"], "positive"),
        (["recurrent_delay=0"], "at least one"),
        (["recurrent_delay=1.5"], "a whole number"),
        (["synapse_first=maybe"], "true or false"),
        (["dt"], "key=value"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(items, allowed):
    with pytest.raises(UsageError) as error:
        Settings.parse(items).semantics()
    assert error.value.code == "ND205"
    assert allowed in str(error.value)


def test_a_required_setting_left_open():
    with pytest.raises(UsageError) as error:
        Settings().get("heads", int)
    assert error.value.code == "ND204"
    assert "--set heads=" in error.value.help


def test_every_preset_states_every_field_with_its_source():
    fields = set(Semantics.__dataclass_fields__) - {"RESETS"}
    for name, preset in PRESETS.items():
        missing = fields - set(preset.values)
        assert missing == ({"dt"} if name == "rockpool" else set()), name
        assert set(preset.sources) == set(preset.values)
        assert all(preset.sources.values())
        settings = Settings({"source": name})
        semantics = settings.semantics()
        assert all(getattr(semantics, key) == value for key, value in preset.values.items())
