"""Workflow files executed here, as GitHub and GitLab execute them: what `act` does, for what examples/ci uses of it.

Every `run` and `script` line goes to bash as it stands, in a clone of the repository and in an environment with nothing
of this process'. Of `uses` steps the ones that carry files from run to run (cache, artifacts) and the checkout are done
as documented; the others are listed as not run. Anything that a file says and this does not know is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT, RESTORE, SAVE, UPLOAD = (
    "actions/checkout@v4",
    "actions/cache/restore@v4",
    "actions/cache/save@v4",
    "actions/upload-artifact@v4",
)
NOT_RUN = ("actions/setup-python@v5",)
STEP_KEYS = {"name", "run", "uses", "with", "if", "env"}
JOB_KEYS = {"runs-on", "timeout-minutes", "steps", "if", "needs", "env"}
GITLAB_KEYS = {
    "image", "timeout", "cache", "before_script", "script", "artifacts", "rules", "tags", "needs",
}  # fmt: skip
TOKEN = re.compile(r"\s*(&&|\|\||==|!=|'[^']*'|[A-Za-z_][A-Za-z0-9_.-]*(?:\(\))?)")
COMMAND = re.compile(r"::(error|warning|notice) ([^:]*(?::(?!:)[^:]*)*)::(.*)")


@dataclass(frozen=True)
class Annotation:
    level: str
    properties: Mapping[str, str]
    message: str


@dataclass(frozen=True)
class Step:
    """status: "passed", "failed", "skipped", "replaced" (the installation that is there already) or "not run"."""

    name: str
    status: str
    code: int = 0
    output: str = ""


@dataclass(frozen=True)
class Job:
    steps: tuple[Step, ...]
    workspace: Path
    summary: str = ""
    artifacts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The exit code of the first step that failed; 0 for none."""
        return next((step.code for step in self.steps if step.status == "failed"), 0)

    @property
    def output(self) -> str:
        return "\n".join(step.output for step in self.steps)

    def status(self, name: str) -> str:
        return next(step.status for step in self.steps if step.name == name)

    def annotations(self) -> list[Annotation]:
        """As GitHub reads them off the log."""
        found = []
        for line in self.output.splitlines():
            match = COMMAND.fullmatch(line)
            if match is None:
                continue
            pairs = [pair.split("=", 1) for pair in match[2].split(",")]
            properties = {key: _unescaped(value) for key, value in pairs}
            found.append(Annotation(match[1], properties, _unescaped(match[3])))
        return found


@dataclass
class Machine:
    """What stays between runs: the repository, the caches, the artifacts. tools: folders of PATH; installed: whether
    the installation is there already, and steps that install are left out; env: further variables of the machine."""

    base: Path
    repository: Path
    tools: Sequence[Path]
    installed: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    runs: int = 0
    caches: dict[str, Path] = field(default_factory=dict)

    def begin(self) -> Path:
        """The next run's folder, with an empty workspace and an empty home."""
        self.runs += 1
        folder = self.base / f"run{self.runs}"
        (folder / "home").mkdir(parents=True)
        return folder

    def clean(self, folder: Path) -> dict[str, str]:
        path = ":".join([*map(str, self.tools), "/usr/local/bin", "/usr/bin", "/bin"])
        return {"HOME": str(folder / "home"), "PATH": path, "LANG": "C.UTF-8", "CI": "true", **self.env}

    def clone(self, target: Path) -> str:
        """A checkout as CI makes it: detached, of one commit. Answers the commit."""
        subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{self.repository}", str(target)], check=True)
        subprocess.run(["git", "-C", str(target), "checkout", "-q", "--detach"], check=True)
        return git(target, "rev-parse", "HEAD")

    def keep(self, key: str, workspace: Path, path: str) -> None:
        """Put a file into the cache; a key that is there is never written again."""
        if key in self.caches or not (workspace / path).exists():
            return
        kept = self.base / "caches" / str(len(self.caches))
        kept.parent.mkdir(exist_ok=True)
        shutil.copy2(workspace / path, kept)
        self.caches[key] = kept

    def bring(self, keys: Sequence[str], workspace: Path, path: str) -> None:
        """The first key exactly, then the newest entry that begins with one of the others."""
        found = self.caches.get(keys[0])
        for prefix in keys[1:]:
            found = found or next((self.caches[k] for k in reversed(self.caches) if k.startswith(prefix)), None)
        if found is not None:
            (workspace / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, workspace / path)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=U", "-c", "user.email=u@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def github(
    workflow: Mapping[str, Any],
    name: str,
    machine: Machine,
    event: str = "push",
    given: Mapping[str, str] | None = None,
) -> Job | None:
    """Run one job; None where its `if` says no. given: values of vars.NAME and secrets.NAME."""
    job = workflow["jobs"][name]
    _known(job, JOB_KEYS)
    folder = machine.begin()
    workspace = folder / "workspace"
    context = {
        "github.ref_name": "main",
        "github.run_id": str(1000 + machine.runs),
        "github.run_attempt": "1",
        "github.event_name": event,
        **(given or {}),
    }
    if not _holds(job.get("if", "success()"), context, True):
        return None
    summary = folder / "summary.md"
    summary.touch()
    env = machine.clean(folder) | {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_EVENT_NAME": event,
    }
    env |= {key: _filled(value, context) for key, value in {**workflow.get("env", {}), **job.get("env", {})}.items()}
    done: list[Step] = []
    artifacts: dict[str, Path] = {}
    for number, step in enumerate(job["steps"]):
        _known(step, STEP_KEYS)
        title = step.get("name", step.get("uses", f"step {number}"))
        good = all(entry.status != "failed" for entry in done)
        if not _holds(step.get("if", "success()"), context, good):
            done.append(Step(title, "skipped"))
        elif "uses" in step:
            said = {key: _filled(str(value), context) for key, value in step.get("with", {}).items()}
            done.append(_used(step["uses"], title, said, machine, workspace, folder, artifacts))
        elif machine.installed and "pip install" in step["run"]:
            done.append(Step(title, "replaced"))
        else:
            extra = {key: _filled(value, context) for key, value in step.get("env", {}).items()}
            script = _filled(step["run"], context)
            limit = 60.0 * job["timeout-minutes"]
            done.append(_shell(title, ["bash", "-e", "-c", script], workspace, env | extra, limit))
    return Job(tuple(done), workspace, summary.read_text(), artifacts)


def _used(
    uses: str,
    title: str,
    said: Mapping[str, str],
    machine: Machine,
    workspace: Path,
    folder: Path,
    artifacts: dict[str, Path],
) -> Step:
    if uses == CHECKOUT:
        machine.clone(workspace)
    elif uses == RESTORE:
        machine.bring([said["key"], *said["restore-keys"].split()], workspace, said["path"])
    elif uses == SAVE:
        machine.keep(said["key"], workspace, said["path"])
    elif uses == UPLOAD:
        kept = folder / "artifacts"
        kept.mkdir(exist_ok=True)
        for path in sorted(workspace.glob(said["path"])):
            artifacts[path.name] = Path(shutil.copy2(path, kept / path.name))
    elif uses in NOT_RUN:
        return Step(title, "not run")
    else:
        raise ValueError(f"{uses} is not known here")
    return Step(title, "passed")


def gitlab(workflow: Mapping[str, Any], name: str, machine: Machine, given: Mapping[str, str] | None = None) -> Job:
    """Run one job: before_script and script in one shell. given: variables of the project; `rules` are not read."""
    job = workflow[name]
    _known(job, GITLAB_KEYS)
    folder = machine.begin()
    workspace = folder / "workspace"
    commit = machine.clone(workspace)
    env = machine.clean(folder) | {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(workspace), "CI_COMMIT_SHA": commit}
    env |= workflow.get("variables", {}) | (given or {})
    before = job.get("before_script", [])
    left_out = [line for line in before if machine.installed and "pip install" in line]
    lines = [line for line in [*before, *job["script"]] if line not in left_out]
    cache = job.get("cache")
    if cache is not None:
        for path in cache["paths"]:
            machine.bring(["", f"gitlab {cache['key']}"], workspace, path)
    script = "\n".join(["set -eo pipefail", *lines])
    step = _shell("script", ["bash", "-c", script], workspace, env, 1200)
    if cache is not None and (step.code == 0 or cache.get("when") == "always"):
        for path in cache["paths"]:
            machine.keep(f"gitlab {cache['key']} {machine.runs}", workspace, path)
    artifacts: dict[str, Path] = {}
    found = job["artifacts"]
    if step.code == 0 or found.get("when") == "always":
        for path in [*found["paths"], *found["reports"].values()]:
            if (workspace / path).is_file():
                artifacts[Path(path).name] = workspace / path
    steps = (*(Step(line, "replaced") for line in left_out), step)
    return Job(steps, workspace, artifacts=artifacts)


def _shell(title: str, command: list[str], folder: Path, env: Mapping[str, str], limit: float) -> Step:
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
    )
    return Step(title, "failed" if done.returncode else "passed", done.returncode, done.stdout)


def _filled(text: str, context: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(_value(match[1].strip(), context, True)), text)


def _holds(condition: str, context: Mapping[str, str], good: bool) -> bool:
    """An `if`: without a status function it also asks that nothing has failed."""
    text = condition.strip()
    words = TOKEN.findall(text)
    if not words or "".join(text.split()) != "".join("".join(words).split()):
        raise ValueError(f"'{condition}' is not read here")
    asked = bool(re.search(r"\b(always|success|failure)\(\)", text))
    return (good or asked) and any(
        all(_compared(part.strip(), context, good) for part in either.split("&&")) for either in text.split("||")
    )


def _compared(text: str, context: Mapping[str, str], good: bool) -> bool:
    for sign in ("==", "!="):
        if sign in text:
            left, right = (_value(part.strip(), context, good) for part in text.split(sign))
            return (left == right) == (sign == "==")
    return bool(_value(text, context, good))


def _value(word: str, context: Mapping[str, str], good: bool) -> str | bool:
    functions = {"always()": True, "success()": good, "failure()": not good}
    if word in functions:
        return functions[word]
    if word.startswith("'"):
        return word[1:-1]
    if word.startswith(("vars.", "secrets.")):
        return context.get(word, "")  # what is not set is empty
    return context[word]


def _unescaped(text: str) -> str:
    for code, sign in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def _known(found: Mapping[str, Any], keys: set[str]) -> None:
    strange = set(found) - keys
    if strange:
        raise ValueError(f"{sorted(strange)} is not known here")
