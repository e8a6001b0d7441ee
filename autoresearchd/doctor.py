"""What is ready, what is missing, and the command that mends it. Looks only: it trains nothing and mends nothing."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoresearchd import machine, scripts
from autoresearchd.errors import CorruptRecord, NoLab, UserError
from autoresearchd.experiment import Experiment
from autoresearchd.inventory import Finding, company, counted, cuda, devices, some
from autoresearchd.ledger import Ledger, ProjectState, project_state
from autoresearchd.program import Program, load
from autoresearchd.propose.llm import find_key
from autoresearchd.propose.llm.prices import is_known
from autoresearchd.run.heldout import held_out, refuse_seen

MARKS = {"ok": "ok", "missing": "MISSING", "note": "note"}


def examine(program_path: Path) -> tuple[Finding, ...]:
    """Look at everything that a run needs; what depends on a broken part is left out, the part itself is named."""
    folder = program_path.resolve().parent
    try:
        program = load(program_path)
    except UserError as error:
        broken = Finding(name="program", state="missing", what=str(error), mend=f"edit {program_path}")
        return (machine.git(), broken, machine.kernel(), machine.disk(folder))
    lab = folder / program.program.experiments
    return (
        machine.git(),
        _better(program),
        *_project(program, folder / program.program.project),
        *_data(program, folder),
        *_lab(lab, program_path),
        *devices(program),
        *company(program, lab),
        *cuda(program, lab),
        machine.sandbox(program.sandbox.mode, folder),
        *_trust(program),
        *_model(program, lab),
        machine.kernel(),
        machine.disk(lab if lab.is_dir() else folder),
    )


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


def _better(program: Program) -> Finding:
    what = f"{program.program.name}: {program.metric.direction.value} {program.metric.name} is better"
    return Finding(name="program", state="ok", what=what)


def _project(program: Program, project: Path) -> Iterator[Finding]:
    try:
        state = project_state(project)
    except UserError as error:
        mend = f"git -C {_quoted(project)} init, then add and commit the project's files"
        yield Finding(name="project", state="missing", what=str(error), mend=mend)
        yield from scripts.commands(program, project, ())
        return
    yield from _committed(program, state)
    yield from scripts.luck(program, project)
    yield from scripts.constants(program, project, state.tracked)
    yield from scripts.commands(program, project, state.tracked)


def _committed(program: Program, state: ProjectState) -> Iterator[Finding]:
    editable = [name for name in state.tracked if program.may_edit(name)]
    globs = ", ".join(program.program.editable)
    if not editable:
        what = f"no committed file matches program.editable ({globs})"
        yield Finding(name="project", state="missing", what=what, mend="git add and commit them, or mend the glob")
        return
    what = f"{state.branch} at {state.head[:10]}, {counted(len(editable), 'file')} may be edited: {some(editable)}"
    yield Finding(name="project", state="ok", what=what)
    if state.dirty:
        what = f"not in the lab: {counted(len(state.dirty), 'uncommitted change')}: {some(state.dirty)}"
        yield Finding(name="project", state="note", what=what, mend="commit what the experiments should start from")
    if program.program.protected and not any(program.is_protected(name) for name in state.tracked):
        what = f"program.protected ({', '.join(program.program.protected)}) matches no committed file"
        yield Finding(name="project", state="note", what=what, mend="mend the globs")
    for name in held_out(program):
        if any(Path(path).is_relative_to(posixpath.normpath(name)) for path in state.tracked):
            what = f"{name} is held out and committed, so that every checkout shows it to the training"
            yield Finding(name="project", state="missing", what=what, mend=f"git rm -r --cached {_quoted(Path(name))}")


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
    try:
        refuse_seen(program, folder)
    except UserError as error:
        mend = "keep them apart: name another folder there, or turn the link that leads there"
        yield Finding(name="data", state="missing", what=str(error), mend=mend)


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
        ledger.refuse_unbacked()
    except CorruptRecord as error:
        yield Finding(name="lab", state="missing", what=str(error), mend="autoresearchd fsck")
        return
    except UserError as error:
        # Only what is no lab at all is moved away: else the sentence says the way out itself.
        mend = f"move {_quoted(lab)} away; autoresearchd init{option}" if isinstance(error, NoLab) else ""
        yield Finding(name="lab", state="missing", what=str(error), mend=mend)
        return
    tried = sum(not each.experiment.is_baseline for each in concluded)
    what = f"{lab}: {counted(tried, 'experiment')} with a verdict, best is {best.commit[:10]}"
    yield Finding(name="lab", state="ok", what=what)
    yield from _daemon(ledger, opened, option)


def _daemon(ledger: Ledger, opened: Sequence[Experiment], option: str) -> Iterator[Finding]:
    """Whether one holds the lab, and what the last one left."""
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
    stale = [str(lock.relative_to(ledger.path)) for lock in (ledger.path / "refs").rglob("*.lock")]
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


def _trust(program: Program) -> Iterator[Finding]:
    if program.metric.evaluate is None:
        what = "`Trust: self-reported`: the training says its own number, so nothing keeps it from making one up"
        yield Finding(name="trust", state="note", what=what, mend="give metric.evaluate and metric.data")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
