"""Experiment and Verdict ⇄ commit message: a title, a paragraph of hypothesis, and git's own trailer block. Pure.

Titles, rationales and reasons are untrusted words. The block is always there and always last, so that none of them can
pass for a verdict; whatever would hide or split it is defused.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import CommitOid, Environment, Gain, Lines, Outcome, Rebased, Verdict
from autoresearchd.scrub import scrub

LONGEST_TITLE, LONGEST_VALUE, LONGEST_RATIONALE = 72, 300, 4000
UNTITLED = "Change without a title"
_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Everything that some reader takes for the end of a line (str.splitlines's list)."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")
_HIDING = re.compile(r"^(?=---|\S.* -{24} >8 -{24}$|diff -|Index: |From )")
"""A divider hides all trailers from libgit2, the scissors of `git commit --verbose` from git. At the last three `git
am` ends the message, and takes what follows for the patch itself."""
_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]*): (.+)")
_OTHER_METRIC = "Metric-"
_GAIN = re.compile(r"(alone|together)=(\S+?)(?:\+-(\S+))?(?: |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the message of an experiment's commit says; open as long as there is no verdict."""

    number: int
    title: str
    rationale: str
    proposer: str
    category: str
    lines: Lines
    reason: str = ""
    cost_usd: float | None = None
    fix_attempts: int = 0
    imported: str = ""
    alone: Gain | None = None
    """As in `Experiment`."""
    wish: CommitOid | None = None
    rebased: Rebased | None = None
    carried_from: CommitOid | None = None
    """Of a kept change that lies replayed below a baseline: its experiment's commit, which has the evidence."""
    verdict: Verdict | None = None
    metric: str = ""
    """Name of the number that `verdict.metric` and `verdict.baseline` are."""


def render(record: Record) -> str:
    """The commit message of a record."""
    body = paragraphs(record.rationale)
    block = "\n".join(f"{key}: {value}" for key, value in _trailers(record) if value)
    return "\n\n".join(part for part in (title(record.title), body, block) if part) + "\n"


def parse(message: str, *, where: str = "commit message") -> Record:
    """Read a record back.

    Raises: CorruptRecord when this program did not write the message.
    """
    head, _, block = message.rstrip("\n").rpartition("\n\n")
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            raise CorruptRecord(where, f"its last paragraph is no trailer block: {line[:60]!r}")
        fields[found[1]] = found[2]
    subject, _, rationale = head.partition("\n\n")
    try:
        return _record(subject, rationale, fields)
    except (KeyError, ValueError) as error:
        raise CorruptRecord(where, f"its trailers are not what this program writes: {error!r}") from error


def title(text: str) -> str:
    """A commit subject of untrusted words: one line, never empty, at most 72 characters."""
    line = _one_line(text)
    # A title that is a trailer, or a divider, would be read as one by tools that look at single paragraphs.
    line = re.sub(r"^[-#\s]+", "", line) or UNTITLED
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1].rstrip() + "…"


def slug(text: str) -> str:
    """A branch-name part of untrusted words: a-z, 0-9 and hyphens, at most 40 characters, never empty."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower().replace("_", "-")).strip("-")
    return words[:40].rstrip("-") or "change"


def line(text: str) -> str:
    """Untrusted words as the value of a trailer: one line, bounded; empty where there is nothing to say."""
    return _value(text)


def number(value: float) -> str:
    """A number for people to compare by eye: six decimals where they say something, else nine significant digits."""
    # Twice: rounding can carry a number into the other range, and what is read back must be written alike.
    return _digits(float(_digits(value)))


def _trailers(record: Record) -> Iterator[tuple[str, str]]:
    yield "Experiment", f"{record.number:04d}"
    yield "Proposer", _value(record.proposer)
    yield "Category", _value(record.category)
    yield "Reason", _value(record.reason)
    yield "Wish", _value(record.wish or "")
    yield "Lines", f"+{record.lines.added} -{record.lines.removed}"
    yield "Cost-USD", _optional(record.cost_usd)
    yield "Fix-Attempts", str(record.fix_attempts or "")
    yield "Imported", _value(record.imported)
    yield "Carried-From", record.carried_from or ""
    if record.rebased is not None:
        yield "Rebased-From", record.rebased.old
        yield "Rebased-Onto", record.rebased.onto
        yield "Carried", " ".join(f"{number:04d}" for number in record.rebased.carried)
    yield "Additivity", _additivity(record.alone, record.verdict.together if record.verdict else None)
    if record.verdict is not None:
        yield from _verdict_trailers(record.verdict, record.metric)


def _verdict_trailers(verdict: Verdict, metric: str) -> Iterator[tuple[str, str]]:
    yield "Verdict", verdict.outcome.value
    yield "Why", _value(verdict.why)
    yield "Metric", _named(metric, verdict.metric)
    yield "Baseline", _named(metric, verdict.baseline)
    yield "Runs", str(verdict.runs)
    yield "Std-Error", _optional(verdict.std_error)
    yield "Confidence", _optional(verdict.confidence)
    yield "Seeds", ",".join(str(seed) for seed in verdict.seeds)
    yield "Train-Seconds", _optional(verdict.train_seconds or None)
    yield "Device", _value(verdict.device)
    yield "Peak-Memory-MiB", _optional(verdict.peak_memory_mib)
    yield "Throughput", _optional(verdict.throughput)
    yield from _other_metrics(verdict.metrics)
    yield "Trust", _value(verdict.trust)
    yield "Flag", _value(verdict.flag)
    yield "Environment", _value(verdict.environment)


def _other_metrics(metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """A trailer each, by name. One underscore in a key hides the whole block from git; equal keys hide each other."""
    named = {_value(name) or "metric": value for name, value in metrics.items() if math.isfinite(value)}
    taken: set[str] = set()
    for name, value in sorted(named.items()):
        key = stem = _OTHER_METRIC + slug(name)
        while key in taken:
            key = f"{stem}-{len(taken)}"
        taken.add(key)
        yield key, _named(name, value)


def _record(subject: str, rationale: str, fields: Mapping[str, str]) -> Record:
    gains = {found[1]: _gain(found) for found in _GAIN.finditer(fields.get("Additivity", ""))}
    verdict = _verdict(fields, gains.get("together")) if "Verdict" in fields else None
    return Record(
        number=int(fields["Experiment"]),
        title=subject,
        rationale=rationale,
        proposer=_common(fields, "Proposer"),
        category=_common(fields, "Category"),
        lines=_lines(fields["Lines"]),
        reason=fields.get("Reason", ""),
        wish=CommitOid(fields["Wish"]) if "Wish" in fields else None,
        cost_usd=_number(fields, "Cost-USD"),
        alone=gains.get("alone"),
        fix_attempts=int(fields.get("Fix-Attempts", "0")),
        imported=fields.get("Imported", ""),
        rebased=_rebased(fields),
        carried_from=CommitOid(fields["Carried-From"]) if "Carried-From" in fields else None,
        verdict=verdict,
        metric=_metric(fields, "Metric")[0] or _metric(fields, "Baseline")[0],
    )


def _rebased(fields: Mapping[str, str]) -> Rebased | None:
    if "Rebased-Onto" not in fields:
        return None
    carried = tuple(int(number) for number in fields.get("Carried", "").split())
    return Rebased(old=CommitOid(fields["Rebased-From"]), onto=CommitOid(fields["Rebased-Onto"]), carried=carried)


def _verdict(fields: Mapping[str, str], together: Gain | None) -> Verdict:
    others = (_metric(fields, key) for key in fields if key.startswith(_OTHER_METRIC))
    return Verdict(
        outcome=Outcome(fields["Verdict"]),
        why=fields.get("Why", ""),
        metric=_metric(fields, "Metric")[1],
        baseline=_metric(fields, "Baseline")[1],
        std_error=_number(fields, "Std-Error"),
        confidence=_number(fields, "Confidence"),
        runs=int(fields.get("Runs", "0")),
        seeds=tuple(int(seed) for seed in fields["Seeds"].split(",")) if "Seeds" in fields else (),
        train_seconds=_number(fields, "Train-Seconds") or 0.0,
        device=_common(fields, "Device"),
        peak_memory_mib=_number(fields, "Peak-Memory-MiB"),
        throughput=_number(fields, "Throughput"),
        metrics={name: value for name, value in others if value is not None},
        environment=Environment(_common(fields, "Environment")),
        together=together,
        trust=_common(fields, "Trust"),
        flag=fields.get("Flag", ""),
    )


def _lines(text: str) -> Lines:
    added, _, removed = text.partition(" ")
    return Lines(added=int(added), removed=-int(removed))


def _common(fields: Mapping[str, str], key: str) -> str:
    """Of a few values that come again and again: each is held once, however many records there are."""
    return sys.intern(fields.get(key, ""))


def _metric(fields: Mapping[str, str], key: str) -> tuple[str, float | None]:
    name, _, value = fields.get(key, "").rpartition("=")
    return (sys.intern(name), _finite(value)) if value else ("", None)


def _number(fields: Mapping[str, str], key: str) -> float | None:
    return _finite(fields[key]) if key in fields else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def _named(name: str, value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{_value(name) or 'metric'}={number(value)}"


def _additivity(alone: Gain | None, together: Gain | None) -> str:
    """`alone=0.012000+-0.001000 together=0.009000+-0.001500`."""
    if alone is None or not math.isfinite(alone.value):
        return ""
    both = f"alone={_known(alone)}"
    return both if together is None or not math.isfinite(together.value) else f"{both} together={_known(together)}"


def _known(gain: Gain) -> str:
    error = _optional(gain.std_error)
    return f"{number(gain.value)}+-{error}" if error else number(gain.value)


def _gain(found: re.Match[str]) -> Gain:
    return Gain(value=_finite(found[2]), std_error=_finite(found[3]) if found[3] else None)


def _digits(value: float) -> str:
    return f"{value:.6f}" if 1e-2 <= abs(value) < 1e7 else f"{value:.9g}"


def _optional(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else number(value)


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub("", _BREAKS.sub(" ", scrub(text))).split())


def _value(text: str) -> str:
    """A trailer's value: one line; empty where there is nothing to say, and then the trailer is left out."""
    return _one_line(text)[:LONGEST_VALUE].rstrip()


def paragraphs(text: str) -> str:
    """Untrusted words as a message may hold them: without lines that hide all trailers from git or libgit2, bounded."""
    lines = (_CONTROL.sub("", line).rstrip() for line in _BREAKS.sub("\n", scrub(text)).split("\n"))
    safe = defused("\n".join(lines))
    return re.sub(r"\n{3,}", "\n\n", safe).strip("\n")[:LONGEST_RATIONALE].rstrip()


def defused(message: str) -> str:
    """The same words with nothing in them that git would obey when they travel as a message or a patch."""
    return "\n".join(_HIDING.sub(" ", line) for line in message.split("\n"))
