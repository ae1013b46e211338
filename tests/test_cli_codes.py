"""Codes: every one that is raised is explained, every one that is explained is raised."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runner import call
from fixtures_path import ROOT

from ndeploy.codes import CODES
from ndeploy.errors import RefusedError

CODE = re.compile(r"\bND\d{3}\b")


def sources() -> list[Path]:
    folders = ("ndeploy", "targets", "converters", "quantize", "hwtests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path for path in files if path != ROOT / "ndeploy" / "codes.py"]


def strip_docstrings_and_comments(text: str) -> str:
    """What is left are the places where a code is raised or shown; a mention in a docstring is no use of it."""
    text = re.sub(r'"""[\s\S]*?"""', "", text)
    return re.sub(r"#.*", "", text)


def test_every_code_in_the_source_is_explained() -> None:
    unknown = {(m, str(path.relative_to(ROOT))) for path in sources() for m in CODE.findall(path.read_text())}
    assert {(code, where) for code, where in unknown if code not in CODES} == set()


def test_every_explained_code_is_used() -> None:
    used = {m for path in sources() for m in CODE.findall(strip_docstrings_and_comments(path.read_text()))}
    assert set(CODES) - used == set()


def test_explanations_say_something() -> None:
    for code, entry in CODES.items():
        assert CODE.fullmatch(code)
        assert entry.title
        assert not entry.title.endswith(".")
        assert len(entry.text) > 30, code
        assert entry.text.endswith("."), code


def test_an_error_with_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        RefusedError("ND000", "x", help="y")


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert "converter" in call(capsys, "explain", "ND102").out
    assert "converter" in call(capsys, "explain", "error[nd102]").out
    listed = call(capsys, "explain").out
    assert all(code in listed for code in CODES)
    assert [c["code"] for c in json.loads(call(capsys, "explain", "--json").out)["codes"]] == list(CODES)


def test_explain_an_unknown_code(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "explain", "ND120")
    assert (done.code, done.error) == (2, "ND706")
    assert "ND12" in done.err
