"""The command line from the outside: in this process where that is enough, in its own where it matters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from ndeploy.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The code of the first coded error on stderr, "" without one. No traceback may ever be there."""
        assert "Traceback" not in self.err, self.err
        found = re.search(r"^error\[(ND\d{3})\]: \S.*\nhelp: \S", self.err, re.MULTILINE)
        return found[1] if found else ""


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Done:
    """Run in this process: fast, the same code."""
    capsys.readouterr()
    with mock.patch.object(sys, "argv", ["ndeploy", *map(str, arguments)]), pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    return Done(int(left.value.code or 0), captured.out, captured.err)


def start(*arguments: object, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
    """Start in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ndeploy", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def spawn(*arguments: object, cwd: Path | None = None, **env: str) -> Done:
    """Run in a process of its own, to its end."""
    process = start(*arguments, cwd=cwd, **env)
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)
