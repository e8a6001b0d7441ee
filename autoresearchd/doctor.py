"""What is ready, what is missing, and the command that mends it. Looks only: it trains nothing and mends nothing."""

from __future__ import annotations

import ctypes
import json
import os
import posixpath
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoresearchd.errors import UserError
from autoresearchd.inventory import Finding, ask, company, devices, some
from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger, project_state
from autoresearchd.program import Program, load
from autoresearchd.propose.llm import find_key
from autoresearchd.propose.llm.prices import is_known
from autoresearchd.run.phase import held_out
from autoresearchd.run.proof import prove
from autoresearchd.run.sandbox import APPARMOR_REMEDY, choose

OLDEST_GIT = (2, 22)
"""The first whose `git log --format` reads single trailers (`%(trailers:key=Metric,valueonly)`)."""
COMFORTABLE_BYTES = 5 * 2**30
MARKS = {"ok": "ok", "missing": "MISSING", "note": "note"}


def examine(program_path: Path) -> tuple[Finding, ...]:
    """Look at everything that a run needs; what depends on a broken part is left out, the part itself is named."""
    findings = [_git()]
    folder = program_path.resolve().parent
    try:
        program = load(program_path)
    except UserError as error:
        broken = Finding(name="program", state="missing", what=str(error), mend=f"edit {program_path}")
        return (*findings, broken, _kernel(), _disk(folder))
    what = f"{program.program.name}: {program.metric.direction.value} {program.metric.name} is better"
    findings.append(Finding(name="program", state="ok", what=what))
    lab = folder / program.program.experiments
    looks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _project(program, folder / program.program.project),
        lambda: _commands(program, folder / program.program.project),
        lambda: _data(program, folder),
        lambda: _lab(lab, program_path),
        lambda: devices(program),
        lambda: company(program, lab),
        lambda: _sandbox(program, folder),
        lambda: _model(program, lab),
    ]
    for look in looks:
        findings.extend(look())
    return (*findings, _kernel(), _disk(lab if lab.is_dir() else folder))


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """`ready`, and the findings as plain data."""
    return {"ready": is_ready(findings), "findings": [asdict(finding) for finding in findings]}


def is_ready(findings: Sequence[Finding]) -> bool:
    """Whether `autoresearchd run` can start."""
    return all(finding.state != "missing" for finding in findings)


def text(findings: Sequence[Finding]) -> str:
    """One line a finding, and what mends it below."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{MARKS[finding.state]:<8} {finding.name:<9} {_harmless(finding.what)}")
        if finding.mend and finding.state != "ok":
            lines.append(f"{'':<18} → {_harmless(finding.mend)}")
    missing = sum(finding.state == "missing" for finding in findings)
    verdict = "ready: autoresearchd run" if not missing else f"{missing} missing; mend it and ask again"
    return "\n".join([*lines, "", verdict])


def _harmless(words: str) -> str:
    # Names of files and branches come from the project; a terminal must not obey them.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in words)


def _git() -> Finding:
    said = ask("git", "--version")
    if said is None:
        return Finding(name="git", state="missing", what="git is not on PATH", mend="apt-get install git")
    words = said.split()
    version = words[2] if len(words) > 2 else "unknown"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        return Finding(name="git", state="note", what=f"git {version} is old", mend=f"install git {wanted} or newer")
    return Finding(name="git", state="ok", what=f"git {version}")


def _project(program: Program, project: Path) -> Iterator[Finding]:
    try:
        state = project_state(project)
    except UserError as error:
        mend = f"git -C {_quoted(project)} init, then add and commit the project's files"
        yield Finding(name="project", state="missing", what=str(error), mend=mend)
        return
    editable = [name for name in state.tracked if program.may_edit(name)]
    globs = ", ".join(program.program.editable)
    if not editable:
        what = f"no committed file matches program.editable ({globs})"
        yield Finding(name="project", state="missing", what=what, mend="git add and commit them, or mend the glob")
        return
    what = f"{state.branch} at {state.head[:10]}, {len(editable)} files may be edited: {some(editable)}"
    yield Finding(name="project", state="ok", what=what)
    if state.dirty:
        what = f"{len(state.dirty)} uncommitted changes are not in the lab: {some(state.dirty)}"
        yield Finding(name="project", state="note", what=what, mend="commit what the experiments should start from")
    if program.program.protected and not any(program.is_protected(name) for name in state.tracked):
        what = f"program.protected ({', '.join(program.program.protected)}) matches no committed file"
        yield Finding(name="project", state="note", what=what, mend="mend the globs")
    for name in held_out(program):
        if any(Path(path).is_relative_to(posixpath.normpath(name)) for path in state.tracked):
            what = f"{name} is held out and committed, so that every checkout shows it to the training"
            yield Finding(name="project", state="missing", what=what, mend=f"git rm -r --cached {_quoted(Path(name))}")


def _commands(program: Program, project: Path) -> Iterator[Finding]:
    train, evaluate = program.train, program.metric.evaluate_argv
    commands = {"train.command": train.argv}
    if evaluate is not None:
        commands["metric.evaluate"] = evaluate
    for key, argv in commands.items():
        if _is_there(argv[0], project):
            yield Finding(name="command", state="ok", what=f"{key} runs {argv[0]}")
        else:
            what = f"{key} starts {argv[0]!r}, which is not there"
            yield Finding(name="command", state="missing", what=what, mend=f"install {argv[0]} or change {key}")


def _is_there(name: str, project: Path) -> bool:
    if "/" in name:
        return (project / name).exists()
    # As runs start it: this Python's own folder comes first, and `python` is this very interpreter.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return name in ("python", "python3") or shutil.which(name, path=path) is not None


def _data(program: Program, folder: Path) -> Iterator[Finding]:
    metric = program.metric
    wanted = {"train.data": program.train.data, "metric.data": metric.data, "metric.audit": metric.audit}
    prepared = any(word.startswith("nanogpt.") for word in program.train.argv)
    for key, name in wanted.items():
        if name is None:
            continue
        place = folder / name
        if not (wrong := _wrong_with(place)):
            yield Finding(name="data", state="ok", what=f"{key} is {name}")
            continue
        mend = "python -m nanogpt.prepare" if prepared else f"put the data of {key} into {_quoted(place)}"
        yield Finding(name="data", state="missing", what=f"{key} names {name}, which is {wrong}", mend=mend)


def _wrong_with(place: Path) -> str:
    try:
        return "" if any(place.iterdir()) else "empty"
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return f"not readable ({error.strerror})"


def _lab(lab: Path, program_path: Path) -> Iterator[Finding]:
    option = "" if program_path == Path("program.toml") else f" --program {_quoted(program_path)}"
    if not lab.is_dir():
        mend = f"autoresearchd init{option}"
        yield Finding(name="lab", state="missing", what=f"{lab} does not exist", mend=mend)
        return
    try:
        ledger = Ledger(lab)
        concluded, opened, best = ledger.concluded(), ledger.opened(), ledger.best()
    except UserError as error:
        yield Finding(
            name="lab", state="missing", what=str(error), mend=f"move {_quoted(lab)} away; autoresearchd init{option}"
        )
        return
    what = f"{lab}: {len(concluded)} experiments with a verdict, best is {best.commit[:10]}"
    yield Finding(name="lab", state="ok", what=what)
    holder = ledger.holder()
    if holder is not None:
        yield Finding(name="daemon", state="note", what=f"running with pid {holder}", mend="autoresearchd status")
        return
    if opened:
        numbers = some([f"{experiment.number:04d}" for experiment in opened])
        mend = f"autoresearchd run{option}"
        yield Finding(name="daemon", state="note", what=f"not running; open and waiting: {numbers}", mend=mend)
    if ledger.pause_switch.exists():
        yield Finding(name="daemon", state="note", what="paused", mend="autoresearchd resume")
    stale = [str(lock.relative_to(lab)) for lock in (lab / "refs").rglob("*.lock")]
    if stale:
        what = f"a write was cut off and left {some(stale)}"
        yield Finding(name="lab", state="note", what=what, mend="the next `autoresearchd run` clears it")


def _model(program: Program, lab: Path) -> Iterator[Finding]:
    """The language model: whether there is a key, and what the last daemon heard. Nobody is called."""
    settings = program.propose.llm
    if settings.enabled is False:
        return
    if not find_key() and settings.base_url is None:
        if settings.enabled:
            mend = "export ANTHROPIC_API_KEY=…, or propose.llm.base_url for a server of your own"
            yield Finding(name="model", state="note", what="propose.llm is enabled and there is no key", mend=mend)
        else:
            yield Finding(name="model", state="ok", what="no key: the offline proposers work without")
        return
    found = _last_word(lab)
    if found.get("state") in ("blocked", "waiting", "over budget"):
        what = f"{settings.model}: {found['state']}: {found.get('why')}"
        yield Finding(name="model", state="note", what=what, mend="mend what it says; it is tried again by itself")
    elif not is_known(settings):
        what, mend = f"the price of {settings.model} is not known: the dearest is assumed", "set [propose.llm.prices]"
        yield Finding(name="model", state="note", what=what, mend=mend)
    else:
        yield Finding(name="model", state="ok", what=f"{settings.model}, ${settings.usd_per_day:g} a day at the most")


def _last_word(lab: Path) -> dict[str, Any]:
    """What the last daemon of this lab wrote about the model."""
    try:
        found = json.loads((lab / "autoresearchd" / "status.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # no daemon has run yet, or it was killed while writing: nothing is known of the model
    said = found.get("llm") if isinstance(found, dict) else None
    return said if isinstance(said, dict) else {}


def _sandbox(program: Program, folder: Path) -> Iterator[Finding]:
    try:
        mode = choose(program.sandbox.mode)
    except UserError as error:
        yield Finding(name="sandbox", state="missing", what=str(error), mend=APPARMOR_REMEDY)
        return
    if mode == "none":
        what = "none, as program.toml says: what experiments run has all your rights"
        yield Finding(name="sandbox", state="note", what=what, mend='[sandbox] mode = "auto"')
    else:
        proof = prove(mode, home=Path.home(), folder=folder)
        if proof.escaped or proof.why:
            what = f"{mode} does not hold: {proof.why or ', '.join(proof.escaped)}"
            yield Finding(name="sandbox", state="missing", what=what, mend=APPARMOR_REMEDY)
            return
        what = f"{mode}; from inside, a write, a connection and a read of the home folder were tried and refused"
        mend = "" if mode == "bubblewrap" else f"bubblewrap is stronger: {APPARMOR_REMEDY}"
        yield Finding(name="sandbox", state="note" if mend else "ok", what=what, mend=mend)
    if program.metric.evaluate is None:
        what = "`Trust: self-reported`: the training says its own number, so nothing keeps it from making one up"
        yield Finding(name="trust", state="note", what=what, mend="give metric.evaluate and metric.data")


def _kernel() -> Finding:
    lacking: list[str] = []
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        lacking.append(f"pidfd ({error})")
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(0) if hasattr(libc, "inotify_init1") else -1
    if watch < 0:
        lacking.append(f"inotify ({os.strerror(ctypes.get_errno())})")
    else:
        os.close(watch)
    if not lacking:
        return Finding(name="kernel", state="ok", what="pidfd and inotify work")
    mend = "Linux 5.3 or newer; for inotify: sysctl fs.inotify.max_user_instances=1024"
    return Finding(name="kernel", state="missing", what=f"not usable here: {', '.join(lacking)}", mend=mend)


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    what = f"{free / 2**30:.1f} GiB free at {place}"
    if free < FREE_FLOOR_BYTES:
        need = f"{what}, {FREE_FLOOR_BYTES / 2**30:.1f} are needed"
        return Finding(name="disk", state="missing", what=need, mend="free some space")
    if free < COMFORTABLE_BYTES:
        return Finding(name="disk", state="note", what=what, mend="checkpoints of the runs may fill it")
    return Finding(name="disk", state="ok", what=what)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
