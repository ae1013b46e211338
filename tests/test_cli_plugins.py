"""Plugins are found, loaded late, and named when they fail."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from ndeploy import plugins, runners
from ndeploy.errors import RefusedError, UsageError


@pytest.fixture
def fresh() -> object:
    """The caches emptied before and after."""
    caches = (plugins.converters, plugins.targets, plugins.runners, plugins.methods)
    for cache in caches:
        cache.cache_clear()
    yield None
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: object):  # type: ignore[no-untyped-def]
    """A function that installs a module with this text as an entry point of a group."""
    entries: dict[str, list[importlib.metadata.EntryPoint]] = {}

    def install(group: str, name: str, text: str) -> None:
        module = f"ndeploy_test_plugin_{tmp_path.name}_{name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(text)
        entries.setdefault(group, []).append(importlib.metadata.EntryPoint(name, module, group))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: entries.get(group, []))
    return install


CONVERTER = """
NAME = "mine"
FAMILY = "my family"
def detect(path, contents): return path.suffix == ".mine"
def load(path, contents, settings): return "a network"
"""


def test_the_folders_are_scanned(fresh: object) -> None:
    assert {"loihi1", "loihi2", "lava"} <= set(plugins.targets())
    assert "lava" in plugins.runners()
    assert "uniform" in plugins.methods()
    assert plugins.target("loihi2").name == "loihi2"


def test_modules_with_an_underscore_are_no_plugins() -> None:
    found = [plugin for group in plugins.GROUPS for plugin in plugins.scan(group)]
    assert found
    assert not any(plugin.name.startswith("_") for plugin in found)


def test_scanning_imports_nothing() -> None:
    code = (
        "import sys; from ndeploy import plugins\n"
        "names = [p.where for g in plugins.GROUPS for p in plugins.scan(g)]\n"
        "print(sorted(set(names) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_an_installed_converter_recognises_its_file(installed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    installed("ndeploy.converters", "mine", CONVERTER)
    path = tmp_path / "model.mine"
    path.write_bytes(b"anything")
    converter, contents = plugins.recognise(path)
    assert (converter.name, converter.family) == ("mine", "my family")
    assert converter.load(path, contents, None) == "a network"  # type: ignore[arg-type,comparison-overlap]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import a_module_that_does_not_exist", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise ValueError('at import')", "at import"),
        ("NAME = 'half'", "does not define FAMILY"),
        (CONVERTER.replace("mine", "nir-file", 1).replace('"nir-file"', "NAME_OF_ANOTHER"), "NameError"),
    ],
)
def test_a_broken_plugin_is_named(installed, text: str, why: str) -> None:  # type: ignore[no-untyped-def]
    installed("ndeploy.converters", "shaky", text)
    with pytest.raises(RefusedError, match="shaky") as caught:
        plugins.converters()
    assert caught.value.code == "ND703"
    assert why in caught.value.message


def test_two_plugins_of_one_name_are_refused(installed) -> None:  # type: ignore[no-untyped-def]
    installed("ndeploy.converters", "one", CONVERTER)
    installed("ndeploy.converters", "two", CONVERTER)
    with pytest.raises(RefusedError, match="two"):
        plugins.converters()


def test_a_target_without_sources_is_refused(installed) -> None:  # type: ignore[no-untyped-def]
    installed(
        "ndeploy.targets",
        "careless",
        "from dataclasses import replace\nfrom ndeploy import plugins\n"
        "from ndeploy.target import Limit\n"
        "import importlib\n"
        "base = importlib.import_module('ndeploy.targets.loihi2').TARGET\n"
        "TARGET = replace(base, name='careless', cores_per_chip=Limit(128, 'cores', '', 'code'))\n",
    )
    with pytest.raises(UsageError, match="careless") as caught:
        plugins.targets()
    assert caught.value.code == "ND410"


def test_an_unknown_target_lists_the_known(fresh: object) -> None:
    with pytest.raises(UsageError, match="'loihi9'") as caught:
        plugins.target("loihi9")
    assert caught.value.code == "ND401"
    assert "loihi2" in caught.value.help


def test_an_unknown_runner_lists_the_known(fresh: object) -> None:
    with pytest.raises(UsageError, match="'abacus'") as caught:
        runners.find("abacus")
    assert caught.value.code == "ND601"
    assert all(name in caught.value.help for name in ("sim", "oracle", "lava"))


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02 no model", b"PK\x05\x06" + bytes(18)])
def test_what_nobody_recognises(fresh: object, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        plugins.recognise(path)
    assert caught.value.code == "ND102"
    assert "spikformer" in caught.value.help.lower()
