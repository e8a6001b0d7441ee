"""`import`: what another program tried, as records of this lab's memory. `best` and the judge never hear of them.

Everything is read and checked before the first write; each record is written whole, in order, so that an import that
was interrupted goes on where it stopped, and one that is repeated adds nothing.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import (
    IMPORTED,
    CommitOid,
    Concluded,
    Environment,
    Lines,
    Outcome,
    TreeOid,
    Verdict,
)
from autoresearchd.foreign import BASELINE, Row, read
from autoresearchd.ledger import Adoption, Found, Ledger, Stranger
from autoresearchd.program import Program
from autoresearchd.trailers import Record, slug, title

TABLE = "results.tsv"
"""Where karpathy/autoresearch keeps its table, if it is committed."""
MOST_BYTES = 64 << 20
SAME = 1e-6
"""Relative; trailers round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be imported."""

    file: Path | None = None
    """A table or a log; None reads results.tsv from the branch."""
    clone: Path | None = None
    """The repository that has the commits."""
    branch: str | None = None
    """Of the clone: what was kept has to be on it."""
    name: str | None = None
    """What the records are called; default: after the file, else the branch."""
    metric: str | None = None
    """What the file calls the program's metric, where that is another word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import added."""

    name: str
    added: tuple[Concluded, ...]
    already: int
    queued: str = ""
    """The idea that the last kept one was queued as."""

    @property
    def kept(self) -> int:
        return sum(row.verdict.outcome is Outcome.KEPT_ELSEWHERE for row in self.added)

    @property
    def with_code(self) -> int:
        return sum(not row.experiment.is_lost for row in self.added)


@dataclass(frozen=True, slots=True)
class _Origin:
    """One row, where its record is to be called from, and its code if that was found."""

    row: Row
    place: str
    before: float | None
    """What the best kept before it measured."""
    found: Found | None


def bring_in(program: Program, ledger: Ledger, source: Source, *, queue: bool = False) -> Imported:
    """Write another program's experiments into the lab.

    Raises: UserError for what is not understood, or where best is not backed, nothing is written then; AlreadyRunning
    beside a daemon.
    """
    stranger = None if source.clone is None else Stranger(source.clone)
    name = _name(source)
    rows = _rows(program, source, stranger)
    origins = _origins(name, rows, _code(rows, stranger, source.branch))
    now = time.time()
    with ledger.hold():
        ledger.refuse_unbacked()
        # Of each name and line, whatever commit it names.
        known = {row.experiment.imported.partition(" ")[0]: row for row in ledger.imported()}
        fresh = _fresh(origins, known, name, program.metric.name)
        start = _start(name, origins, known, stranger) if queue else None
        wanted = [origin.found.tree for origin in fresh if origin.found] + ([start] if start else [])
        if stranger is not None and wanted:
            stranger.send(ledger.path, wanted)
        if not ledger.is_begun:
            ledger.open_baseline(now=now)
        added = _write(program, ledger, origins, known, now)
        queued = _queue(ledger, name, start, now) if start else ""
    return Imported(name=name, added=added, already=len(rows) - len(added), queued=queued)


def _name(source: Source) -> str:
    said = source.name or (source.file.stem if source.file else source.branch) or ""
    if not re.search(r"[A-Za-z0-9]", said):
        raise UserError("give the file of another program, or `--from CLONE --branch BRANCH` that has a results.tsv")
    return slug(said)


def _rows(program: Program, source: Source, stranger: Stranger | None) -> tuple[Row, ...]:
    if source.branch is not None and stranger is None:
        raise UserError(f"--branch {source.branch!r} needs --from, the clone that has it")
    if source.file is not None:
        where, raw = str(source.file), _bytes(source.file)
    elif stranger is not None and source.branch is not None:
        where, raw = f"{source.branch}:{TABLE}", stranger.text(source.branch, TABLE)
    else:
        raise UserError("give the file of another program, or `--from CLONE --branch BRANCH` that has a results.tsv")
    if len(raw) > MOST_BYTES:
        raise UserError(f"{where} is larger than {MOST_BYTES >> 20} MiB: split it")
    try:
        metric = source.metric or program.metric.name
        return read(raw.decode("utf-8"), metric=metric, direction=program.metric.direction)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: line {line} is no UTF-8; nothing was imported") from error
    except UserError as error:
        raise UserError(f"{where}: {error}; nothing was imported") from error


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _code(rows: Sequence[Row], stranger: Stranger | None, branch: str | None) -> Mapping[str, Found]:
    """By the words of the table, the commits that are there; what was kept has to be on the branch, if one is named."""
    if stranger is None:
        return {}
    words = tuple(dict.fromkeys(row.commit for row in rows if row.commit not in ("", BASELINE)))
    named = stranger.commits(words)
    if branch is not None:
        kept, line = {row.commit for row in rows if row.outcome is Outcome.KEPT_ELSEWHERE}, stranger.line(branch)
        named = {word: oid for word, oid in named.items() if word not in kept or oid in line}
    commits = stranger.read(tuple(named.values()))
    found = {word: commits[oid] for word, oid in named.items()}
    # The baseline is what the first kept change was made on; the table has no commit for it.
    first = next((row.commit for row in rows[1:] if row.outcome is Outcome.KEPT_ELSEWHERE), "")
    if rows[0].commit == BASELINE and first in found and (parent := found[first].parent) is not None:
        found |= dict.fromkeys([BASELINE], stranger.read([parent])[parent])
    return found


def _origins(name: str, rows: Sequence[Row], code: Mapping[str, Found]) -> tuple[_Origin, ...]:
    made, before = [], None
    for row in rows:
        place = f"{name}:{row.line}"
        made.append(_Origin(row, place, before, code.get(row.commit)))
        if row.outcome is Outcome.KEPT_ELSEWHERE:
            before = row.metric
    return tuple(made)


def _fresh(origins: Sequence[_Origin], known: Mapping[str, Concluded], name: str, metric: str) -> list[_Origin]:
    """Those that are not in the lab yet. Raises: UserError where others are, under the same name."""
    for origin in origins:
        there = known.get(origin.place)
        if there is not None and not _is_same(origin, there, metric):
            number = f"{there.experiment.number:04d}"
            raise UserError(
                f"line {origin.row.line} is not what was imported as {number} from {name!r}: give the file "
                "another name with --name; nothing was imported"
            )
    return [origin for origin in origins if origin.place not in known]


def _is_same(origin: _Origin, there: Concluded, metric: str) -> bool:
    row, verdict = origin.row, there.verdict
    said = verdict.metric if verdict.metric is not None else verdict.metrics.get(metric)
    if row.metric is None or said is None:
        same = row.metric is said
    else:
        same = math.isclose(row.metric, said, rel_tol=SAME, abs_tol=SAME)
    return same and there.experiment.title == title(row.description) and verdict.outcome is row.outcome


def _write(
    program: Program, ledger: Ledger, origins: Sequence[_Origin], known: Mapping[str, Concluded], now: float
) -> tuple[Concluded, ...]:
    """In the order of the file, each on what was kept there before it; the first ones on best."""
    adoption, on, added = ledger.adoption(), ledger.best().commit, []
    for origin in origins:
        there = known.get(origin.place)
        if there is None:
            there = _add(adoption, program, origin, on, now)
            added.append(there)
        if there.verdict.outcome is Outcome.KEPT_ELSEWHERE:
            on = there.experiment.commit
    return tuple(added)


def _add(adoption: Adoption, program: Program, origin: _Origin, on: CommitOid, now: float) -> Concluded:
    tree: TreeOid | None = origin.found.tree if origin.found else None
    made = origin.row.finished or (origin.found.made if origin.found else now)
    return adoption.add(_record(program, origin), tree=tree, on=on, opened=made, now=now)


def _record(program: Program, origin: _Origin) -> Record:
    row, name = origin.row, origin.place.rpartition(":")[0]
    source = f"Line {row.line} of {name}" + (f", commit {row.commit} there." if row.commit else ".")
    code = "" if origin.found else " Its code was not found: this commit changes nothing and stands for the record."
    return Record(
        number=0,
        title=row.description,
        rationale=f"{source}{code}",
        proposer=IMPORTED,
        category=IMPORTED,
        lines=Lines(added=0, removed=0),
        imported=f"{origin.place} {row.commit}".rstrip(),
        verdict=_verdict(program, origin, name),
        metric=program.metric.compared,
    )


def _verdict(program: Program, origin: _Origin, name: str) -> Verdict:
    """What the other program decided by its own number, under an environment of its own."""
    row, metric = origin.row, program.metric
    said = Verdict(
        outcome=row.outcome,
        why=f"as {name} says; nothing of it was measured here",
        metrics=row.metrics,
        peak_memory_mib=row.peak_memory_mib,
        environment=Environment(f"{IMPORTED}-{name}"),
        trust=IMPORTED,
    )
    if metric.also:  # what is compared here is another number than the one on record
        return said if row.metric is None else replace(said, metrics={metric.name: row.metric, **row.metrics})
    return replace(said, metric=row.metric, baseline=None if row.metric is None else origin.before)


def _is_known_keep(origin: _Origin, known: Mapping[str, Concluded]) -> bool:
    """Whether it was kept there, and its code is in the lab or will be."""
    if origin.row.outcome is not Outcome.KEPT_ELSEWHERE:
        return False
    there = known.get(origin.place)
    return origin.found is not None if there is None else not there.experiment.is_lost


def _start(name: str, origins: Sequence[_Origin], known: Mapping[str, Concluded], stranger: Stranger | None) -> TreeOid:
    """What the other program began with, as its own history has it: without it all of its project would be a change.

    Raises: UserError where nobody here knows.
    """
    kept = next((origin for origin in origins if _is_known_keep(origin, known)), None)
    if kept is None:
        raise UserError(f"the code of what {name} kept is not here, so it cannot be queued: give its clone by --from")
    there, found = known.get(kept.place), kept.found
    if kept is origins[0] and (own := there.experiment.tree if there else found.tree if found else None):
        return own
    parent = found.parent if found else None
    if stranger is None or parent is None:
        raise UserError(
            f"the code that {name} kept its first change on is not here, so it cannot be queued: give a clone that has "
            "it by --from"
        )
    return stranger.read([parent])[parent].tree


def _queue(ledger: Ledger, name: str, start: TreeOid, now: float) -> str:
    """All that was kept there, as one idea on best. Raises: UserError where it conflicts."""
    ours = [row for row in ledger.imported() if row.verdict.environment == f"{IMPORTED}-{name}"]
    kept = [row for row in ours if row.verdict.outcome is Outcome.KEPT_ELSEWHERE and not row.experiment.is_lost]
    best, message = ledger.best(), f"Take over all that {name} kept\n"
    ref = ledger.adoption().queue(message, base=start, tip=kept[-1].experiment.tree, best=best.commit, now=now)
    if ref is None:
        way = "cherry-pick it by hand and `autoresearchd propose` it"
        raise UserError(f"the records of {name} are here, but what it kept conflicts with best: {way}")
    return ref
