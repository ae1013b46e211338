"""Chips, formats, methods and runners are found, never named: one new file in a plugin folder is enough.

A plugin is a module without a leading underscore in `ndeploy.converters`, `ndeploy.targets` or `ndeploy.quantize`, or
whatever an installed package names in the entry points of the same three groups. Modules are imported when somebody
asks for their kind, not before. A plugin that cannot be imported, or that lacks what its kind must define, is an
error that names it (ND703): nothing is skipped in silence.

A converter module defines `NAME`, `FAMILY`, `detect(path, contents)` and `load(path, contents, settings)`; a target
module defines `TARGET` and, if it can also execute programs, `RUNNERS`; a method module defines `quantize`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ndeploy.errors import NdeployError, RefusedError, UsageError

if TYPE_CHECKING:
    from ndeploy.contents import Contents
    from ndeploy.ir.network import Network
    from ndeploy.runners import Runner
    from ndeploy.settings import Settings
    from ndeploy.target import Target

GROUPS = ("ndeploy.converters", "ndeploy.targets", "ndeploy.quantize")


@dataclass(frozen=True)
class Plugin:
    """A plugin that may not be imported yet. name: the module's or entry point's name; where: what to import."""

    group: str
    name: str
    where: str
    load: Callable[[], ModuleType]


@dataclass(frozen=True)
class Converter:
    """A file format or model family. detect: whether it reads this file; load: the file as a Network."""

    name: str
    family: str
    detect: Callable[[Path, Contents], bool]
    load: Callable[[Path, Contents, Settings], Network]


def scan(group: str) -> Iterator[Plugin]:
    """The plugins of a group, by name within the folder, then by name among the entry points; imports none of them."""
    package = importlib.import_module(group)
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            where = f"{group}.{info.name}"
            yield Plugin(group, info.name, where, functools.partial(importlib.import_module, where))
    for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name):
        yield Plugin(group, entry.name, entry.value, entry.load)


def load(plugin: Plugin) -> ModuleType:
    """Import a plugin. Raises RefusedError ND703 with the cause whatever its module raises."""
    try:
        return plugin.load()
    except NdeployError:
        raise
    except Exception as error:  # a plugin is foreign code: anything may come out of it
        raise _broken(plugin, f"{type(error).__name__}: {error}") from error


def _broken(plugin: Plugin, why: str) -> RefusedError:
    return RefusedError(
        "ND703",
        f"plugin '{plugin.name}' ({plugin.where}) cannot be loaded: {why}",
        help="mend or uninstall it; `ndeploy doctor` lists every plugin and whether it loads",
    )


def _attribute(plugin: Plugin, module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        raise _broken(plugin, f"it does not define {name}")
    return getattr(module, name)


def _add(found: dict[str, Any], plugin: Plugin, name: str, value: Any) -> None:
    if name in found:
        raise _broken(plugin, f"another plugin is called '{name}' already")
    found[name] = value


@functools.cache
def converters() -> Mapping[str, Converter]:
    """Every converter by name. Raises RefusedError ND703."""
    found: dict[str, Converter] = {}
    for plugin in scan("ndeploy.converters"):
        module = load(plugin)
        name, family, detect, loader = (_attribute(plugin, module, a) for a in ("NAME", "FAMILY", "detect", "load"))
        _add(found, plugin, name, Converter(name, family, detect, loader))
    return found


@functools.cache
def targets() -> Mapping[str, Target]:
    """Every target by name, its data checked. Raises RefusedError ND703, UsageError ND410."""
    from ndeploy.target import validate

    found: dict[str, Target] = {}
    for plugin in scan("ndeploy.targets"):
        target = _attribute(plugin, load(plugin), "TARGET")
        validate(target)
        _add(found, plugin, target.name, target)
    return found


@functools.cache
def runners() -> Mapping[str, Runner]:
    """Every runner that a target brings, by name. Raises RefusedError ND703."""
    found: dict[str, Runner] = {}
    for plugin in scan("ndeploy.targets"):
        for name, runner in getattr(load(plugin), "RUNNERS", {}).items():
            _add(found, plugin, name, runner)
    return found


@functools.cache
def methods() -> Mapping[str, ModuleType]:
    """Every quantisation method by its NAME, or its module's where it states none; each defines `quantize`.

    Raises RefusedError ND703.
    """
    found: dict[str, ModuleType] = {}
    for plugin in scan("ndeploy.quantize"):
        module = load(plugin)
        _attribute(plugin, module, "quantize")
        _add(found, plugin, getattr(module, "NAME", plugin.name), module)
    return found


def target(name: str) -> Target:
    """The target of that name. Raises UsageError ND401 with the names there are."""
    known = targets()
    if name not in known:
        raise UsageError(
            "ND401",
            f"there is no target '{name}'",
            help=f"choose one of {', '.join(sorted(known))}; `ndeploy targets` describes them",
        )
    return known[name]


def recognise(path: Path) -> tuple[Converter, Contents]:
    """The one converter that reads the file, and the look at the file that told.

    Raises UsageError ND101 (no such file), ND102 (no converter, or more than one, recognises it).
    """
    from ndeploy.contents import Contents

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError("ND101", f"'{path}' {what}", help="give the path of a trained network's file")
    contents = Contents(path)
    known = converters()
    matching = [converter for converter in known.values() if converter.detect(path, contents)]
    if len(matching) == 1:
        return matching[0], contents
    if matching:
        raise UsageError(
            "ND102",
            f"'{path}' could be any of {', '.join(c.name for c in matching)}",
            help="the converters' detect functions overlap: report the file's format",
        )
    families = ", ".join(converter.family for converter in known.values()) or "none"
    raise UsageError(
        "ND102",
        f"no converter recognises '{path}' ({contents.kind})",
        help=f"known families: {families}; check that the file is whole and is a model, not data",
    )
