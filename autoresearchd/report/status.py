"""status.json for a person or a script. What a dead daemon left behind is never shown as the present."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from autoresearchd.errors import UserError
from autoresearchd.experiment import Direction
from autoresearchd.report import eta
from autoresearchd.report.words import (
    DAY,
    counted,
    duration,
    figure,
    finite,
    gain_figure,
    idle,
    minute,
    number,
    plain,
    side_by_side,
)
from autoresearchd.status import FORMAT, DeviceStatus, LlmStatus, Status, with_best
from autoresearchd.status import wishes_wait as wait_for

if TYPE_CHECKING:
    from autoresearchd.ledger import Ledger

OFF = "off"
"""State of a language model without a daemon."""
NOBODY = "no daemon asks it"
STARTS = "`autoresearchd run` starts one"
NOT_YET = f"no daemon has run here yet; {STARTS}"


def read(ledger: Path) -> dict[str, Any] | None:
    """The last status that a daemon of this lab wrote; None if none did.

    Raises: UserError when the file is there and is not what a daemon writes.
    """
    path = ledger / "autoresearchd" / "status.json"
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); the next `autoresearchd run` writes it anew") from error
    return data if isinstance(data, dict) else None


def look(ledger: Ledger) -> tuple[dict[str, Any] | None, int | None]:
    """What the last daemon wrote, and who holds the lab; best and the counts are the ledger's where nobody does.

    A rebase or a person may have moved them since. Raises: as `read`, and where the ledger cannot be read.
    """
    data, holder = read(ledger.path), ledger.holder()
    status = typed(data) if holder is None else None
    if status is None:
        return data, holder
    outcomes = [entry.outcome for entry in ledger.entries() if not entry.is_imported]
    verdicts = Counter(outcome.value for outcome in outcomes if outcome is not None)
    opened = tuple(experiment.number for experiment in ledger.opened())
    status = with_best(status, ledger.best_record(), ledger.baseline())
    return replace(status, verdicts=dict(verdicts), open=opened).to_json(), holder


def as_json(data: Mapping[str, Any] | None, holder: int | None, *, now: float | None = None) -> dict[str, Any]:
    """The status with `running`, and `holder`, the pid of the live daemon.

    Without a daemon `state` is `not running`, the state that the last one wrote is `last_state`, and nothing trains;
    the figures of a session are those of the last one.
    """
    fresh = is_fresh(data, holder)
    if not fresh and (status := typed(data)) is not None:
        data = {**(data or {}), **past(status, time.time() if now is None else now).to_json()}
    found: dict[str, Any] = {**finite(data or {}), "running": holder is not None, "holder": holder}
    if not fresh:
        found["last_state"] = found.get("state")
        found["state"] = "not running" if holder is None else "starting"
        found["devices"] = []
    return found


def text(data: Mapping[str, Any] | None, holder: int | None, *, now: float | None = None) -> str:
    """The status in a few lines, at `now` (Unix time; the present if not given)."""
    if data is None:
        return NOT_YET if holder is None else _starting(holder)
    status = typed(data)
    if status is None:
        return f"status.json is not of this version (format {FORMAT}); `autoresearchd run` writes it anew"
    if not is_fresh(data, holder):
        head = _gone(status) if holder is None else _starting(holder)
        status = past(status, time.time() if now is None else now)
        length = duration(status.now - status.session_started)
        return "\n".join([head, *_results(status), *_busy(status, f"were busy {{}} of the last {length}")])
    shown = [*_results(status), *_busy(status, "busy {} of the session")]
    return "\n".join([_present(status), *shown, *(_device(d, status) for d in status.devices)])


def past(status: Status, now: float) -> Status:
    """What still holds at `now` of a status whose daemon is gone: nobody trains, proposes or spends any more."""
    llm = status.llm
    if llm is not None:
        today = llm.spent_today if now // DAY == status.now // DAY else 0.0
        llm = replace(llm, state=OFF, why=NOBODY, until=None, thinking=0, ready=0, spent_today=today)
    why = NOBODY if status.wishes else ""
    return replace(status, devices=(), ready=0, thinking=0, until=None, llm=llm, failing={}, wishes_why=why)


def typed(data: Mapping[str, Any] | None) -> Status | None:
    """The status as its type; None where there is none, or another version wrote it."""
    try:
        status = TypeAdapter(Status).validate_python(dict(data or {}))
        Direction(status.direction)
    except (ValidationError, ValueError):
        return None
    return status


def wishes_wait(data: Mapping[str, Any] | None, holder: int | None) -> str:
    """Why no change is made of a wish now, in a sentence; empty where one is, or nobody knows yet."""
    if holder is None:
        return f"no daemon is running; {STARTS}"
    status = typed(data) if is_fresh(data, holder) else None
    return "" if status is None else wait_for(status.llm)


def is_fresh(data: Mapping[str, Any] | None, holder: int | None) -> bool:
    """Whether the daemon that wrote it is the one that holds the lab now."""
    return data is not None and holder is not None and data.get("pid") == holder


def because(why: str, until: float | None, now: float, *, again: str = "again") -> str:
    """The reason behind a state, and when it is over: `: the disk is full, again in 30 s`."""
    said = f": {plain(why)}" if why else ""
    return said if until is None or until <= now else f"{said}, {again} in {duration(until - now)}"


def model(llm: LlmStatus, now: float) -> str:
    """The language model, what it does, and what it has cost."""
    line = f"{plain(llm.model)}: {plain(llm.state)}{because(llm.why, llm.until, now)}"
    line += f"; ${llm.spent_today:.2f} of ${llm.usd_per_day:.2f} today, ${llm.spent_total:.2f} in all"
    if not llm.is_price_known:
        line += " by the dearest price, for its own is not known: set [propose.llm.prices]"
    return line


def _starting(holder: int) -> str:
    pid = f"pid {holder}" if holder else "its pid is not written yet"
    return f"a daemon ({pid}) is starting and has said nothing yet"


def _gone(status: Status) -> str:
    when, why = minute(status.now), f" ({plain(status.why)})" if status.why else ""
    if status.state == "finished":
        return f"{plain(status.program)}: no daemon is running; the last one finished at {when}{why}"
    return (
        f"{plain(status.program)}: no daemon is running; the last one (pid {status.pid}) was last seen at {when}, "
        f"{plain(status.state)}{why}; `autoresearchd run` goes on from there"
    )


def _present(status: Status) -> str:
    why = because(status.why, status.until, status.now)
    line = f"{plain(status.program)}: {plain(status.state)}{why} (pid {status.pid}, "
    line += f"for {duration(status.now - status.session_started)}"
    left = eta.seconds_left(status)
    line += "" if left is None else f", ETA {duration(left)}"
    line += ", WITHOUT A SANDBOX)" if status.sandbox == "none" else ")"
    if status.program_refused:
        line += f"\nprogram.toml refused: {plain(status.program_refused)}; the one before it is in force"
    return line


def _results(status: Status) -> Iterator[str]:
    yield f"best    {_best(status)}"
    tried = f"tried   {counted(status.tried, 'change')}, {status.kept} kept, {status.failed} failed"
    words = ", ".join(f"{count} {plain(word)}" for word, count in sorted(status.verdicts.items()))
    yield f"{tried}  ({words})" if words else tried
    yield from _troubles(status)
    if status.side_by_side:
        yield f"merged  {side_by_side(status.side_by_side)}"
    if status.audits:
        yield _audits(status)
    if status.rungs:
        yield from _ladder(status)
    if status.open:
        yield f"open    {', '.join(number(n) for n in status.open)}"
    if status.llm is not None:
        yield f"model   {model(status.llm, status.now)}"
    for name, why in sorted(status.failing.items()):
        yield f"failing {plain(name)}: {plain(why)}; it is asked less and less, the others go on"
    yield from _inbox(status)


def _best(status: Status) -> str:
    metric = plain(status.metric)
    if status.baseline is None:
        return f"the imported commit; {metric} not measured yet"
    best = f"{number(status.best_number)}  {metric} {figure(status.best)}  {plain(status.best_title)}"
    if status.gain is None:
        return best
    return f"{best}  ({gain_figure(status.gain)} on the baseline's {figure(status.baseline)})"


def _troubles(status: Status) -> Iterator[str]:
    """What counts for nothing, and why."""
    if status.damaged:
        many = f" (and {len(status.damaged) - 1} more)" if len(status.damaged) > 1 else ""
        yield f"damaged {plain(status.damaged[0])}{many}; not counted; `autoresearchd fsck` says the way out"
    if status.disturbed:
        many = f"{counted(status.disturbed, 'run')} to be repeated, not judged"
        yield f"disturbed {many}; the newest: {plain(status.disturbed_why)}"


def _busy(status: Status, words: str) -> Iterator[str]:
    if status.busy_share is not None:
        yield f"devices {words.format(f'{status.busy_share:.0%}')}{_idle(status)}"


def _inbox(status: Status) -> Iterator[str]:
    """The wishes that wait, and what was turned away last."""
    if status.wishes:
        why = because(status.wishes_why, None, status.now)
        yield f"wishes  {status.wishes} wait{'s' if status.wishes == 1 else ''} for the language model{why}"
    if status.refused_ideas:
        last = status.refused_ideas[-1]
        named = plain(last.title) or plain(last.ref.removeprefix("refs/heads/"))
        before = len(status.refused_ideas) - 1
        more = f"; {before} before it: `autoresearchd report`" if before else ""
        yield f"refused {named}: {plain(last.why)} ({minute(last.at)}{more})"


def _idle(status: Status) -> str:
    """For how long they did nothing, and why: what adds up to a second."""
    long = {reason: seconds for reason, seconds in sorted(status.idle_seconds.items()) if seconds >= 1}
    parts = [f"{duration(seconds)} {idle(reason)}" for reason, seconds in long.items()]
    return f"; idle, as device time: {', '.join(parts)}" if parts else ""


def _ladder(status: Status) -> Iterator[str]:
    """What is promoted, and rung by rung what holds of the rest."""
    named = ", ".join(number(each) for each in status.promoted)
    share = "" if status.rung_share is None else f"  ({status.rung_share:.0%} of the devices' time went to the rungs)"
    yield f"promoted {counted(len(status.promoted), 'change')}{f': {named}' if named else ''}{share}"
    for rung in status.rungs:
        kinds = (("hold", rung.holds), ("do not", rung.falls), ("not known", rung.unknown))
        said = [f"{words} {', '.join(map(number, numbers))}" for words, numbers in kinds if numbers]
        yield f"  {plain(rung.scale):<6} {'; '.join(said) or 'nothing waits'}"
    if status.rung_why:
        yield f"  nothing can be compared on {plain(status.rung_why)}"


def _audits(status: Status) -> str:
    """What was gained on the data that chose, beside what was gained on data that never did."""
    first, last, direction = status.audits[0], status.audits[-1], Direction(status.direction)
    line = f"audit   {number(last.number)}  chosen by {figure(last.value)}, audited {figure(last.audit)}"
    if last is not first:
        chosen, audited = direction.gain(last.value, first.value), direction.gain(last.audit, first.audit)
        line += f"  ({gain_figure(chosen)} since {number(first.number)}, audited {gain_figure(audited)})"
    return f"{line}: {plain(status.audit_word)}" if status.audit_word else line


def _device(device: DeviceStatus, status: Status) -> str:
    name = f"{plain(device.device):<7}" + (" screens" if device.screens else "")
    if device.experiment is None:
        why = because(device.why, device.until, status.now, again="tried again")
        return f"{name} {plain(device.phase)}{why}  {plain(device.model)}".rstrip() + _beside(device)
    parts = [f"{name} {number(device.experiment)}", f"seed {device.seed}", plain(device.phase)]
    if device.fraction is not None:
        parts.append(f"{min(1.0, device.fraction):.0%}")
    if device.step:
        parts.append(f"step {device.step}")
    if device.train_loss is not None:
        parts.append(f"loss {device.train_loss:.4f}")
    if device.started is not None:
        parts.append(duration(status.now - device.started))
    return "  ".join([*parts, plain(device.title)]) + _beside(device)


def _beside(device: DeviceStatus) -> str:
    """What may disturb its run, else who is there besides us."""
    words, found = ("beside it", device.incidents) if device.incidents else ("shared with", device.residents)
    return f"\n{'':<7} {words}: {plain('; '.join(found))}" if found else ""
