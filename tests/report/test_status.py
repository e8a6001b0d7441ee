"""`autoresearchd status`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.errors import UserError
from autoresearchd.report.status import as_json, read, text
from autoresearchd.status import LlmStatus
from tests.report.nouns import EVIL, device, status

NOW = 1_700_000_600.0
"""When the daemon of these tests wrote last."""


def _data(**fields: Any) -> dict[str, Any]:
    return json.loads(json.dumps(status(**fields).to_json()))  # type: ignore[no-any-return]


def test_a_live_daemon_says_what_it_does() -> None:
    said = text(_data(session_limit=13), holder=4242)
    assert "training (pid 4242, for 10 min 00 s, ETA 10 min 00 s)" in said
    assert "0004  val_bpb 1.20000  Warm down longer  (+0.100 on the baseline's 1.30000)" in said
    assert "6 changes, 2 kept, 1 failed" in said
    assert "cpu:0   0007  seed 1  training  50%  step 75  loss 2.5000  10 s  Softcap 15" in said


def test_where_higher_is_better_a_higher_best_is_a_gain() -> None:
    assert "(+0.100 on" in text(_data(direction="higher", best=1.4), holder=4242)
    assert "(-0.100 on" in text(_data(direction="higher", best=1.2), holder=4242)


def test_what_was_gained_stands_beside_what_the_audit_says_of_it() -> None:
    audits = [{"number": 0, "value": 1.3, "audit": 1.4}, {"number": 4, "value": 1.2, "audit": 1.41}]
    said = text(_data(audits=audits, audit_word="overfitting"), holder=4242)
    assert "audit   0004  chosen by 1.20000, audited 1.41000  (+0.100 since 0000, audited -0.0100): overfitting" in said
    assert "audit   0000  chosen by 1.30000, audited 1.40000\n" in text(_data(audits=audits[:1]), holder=4242)
    assert "audit" not in text(_data(), holder=4242)


def test_what_holds_on_which_rung_is_said() -> None:
    rungs = [{"scale": "d12", "holds": [4], "falls": [5, 6], "unknown": []}, {"scale": "d24", "unknown": [4]}]
    said = text(_data(promoted=[2, 3], rungs=rungs, rung_share=0.12), holder=4242)
    assert "promoted 2 changes: 0002, 0003  (12% of the devices' time went to the rungs)" in said
    assert "  d12    hold 0004; do not 0005, 0006\n" in said
    assert "  d24    not known 0004\n" in said
    assert "nothing can be compared on d24: out of memory" in text(
        _data(rungs=rungs, rung_why="d24: out of memory"), holder=4242
    )
    assert "promoted" not in text(_data(), holder=4242)


def test_what_screens_what_is_beside_a_run_and_what_was_disturbed_is_said_and_cannot_move_the_terminal() -> None:
    beside = [*device_data(screens=True, incidents=[f"python (pid 7){EVIL} on cuda:1"])]
    said = text(_data(devices=beside, disturbed=2, disturbed_why=f"power brake of cuda:0{EVIL}"), holder=4242)
    assert "cpu:0   screens 0007  seed 1" in said
    assert "        beside it: python (pid 7)" in said
    assert "disturbed 2 runs to be repeated, not judged; the newest: power brake of cuda:0" in said
    assert "\x1b" not in said


def test_who_else_is_on_the_gpu_of_an_idle_device_is_said_and_cannot_move_the_terminal() -> None:
    idle = device_data(experiment=None, phase="idle", residents=[f"python (pid 7, 70000 MiB){EVIL}"])
    said = text(_data(devices=idle), holder=4242)
    assert "        shared with: python (pid 7, 70000 MiB)" in said
    assert "\x1b" not in said


def test_what_was_turned_away_last_is_said_with_its_day_and_where_the_others_are() -> None:
    idea = {"ref": f"refs/heads/idea/{EVIL}", "title": "", "why": f"no colour{EVIL}", "at": NOW}
    said = text(_data(refused_ideas=[idea]), holder=4242)
    assert re.search(r"^refused idea/\S+owned.*: no colour.* \(2023-11-1\d \d\d:\d\d\)$", said, re.MULTILINE)
    assert "; 2 before it: `autoresearchd report`)" in text(_data(refused_ideas=[idea] * 3), holder=None)
    assert "\x1b" not in said


def test_who_of_the_proposers_only_fails_is_named_with_why_and_cannot_move_the_terminal() -> None:
    said = text(_data(failing={"command": f"exit code 1{EVIL}"}), holder=4242)
    assert re.search(r"^failing command: exit code 1.*; it is asked less and less, the others go on$", said, re.M)
    assert "\x1b" not in said
    assert "failing" not in text(_data(failing={"command": "exit code 1"}), holder=None)
    assert "failing" not in text(_data(), holder=4242)


def device_data(**fields: Any) -> list[dict[str, Any]]:
    return [{**each, **fields} for each in _data()["devices"]]


def test_why_devices_were_idle_is_said_in_a_persons_words_and_as_the_time_of_all_devices() -> None:
    said = text(_data(idle_seconds={"machine": 48.0, "no_idea": 1177.0, "a_new_one": 2.0}), holder=4242)
    line = "idle, as device time: 2 s a new one, 48 s disk full, or no device fit to train, 19 min 37 s no idea"
    assert line in said


def test_what_is_due_by_now_is_not_said_to_come_in_no_time() -> None:
    assert "again in" not in text(_data(until=NOW), holder=4242)
    assert "again in 30 s" in text(_data(until=NOW + 30), holder=4242)


def test_a_dead_daemon_is_not_shown_as_training() -> None:
    said = text(_data(), holder=None)
    assert "no daemon is running; the last one (pid 4242) was last seen at" in said
    assert "`autoresearchd run` goes on from there" in said
    assert "Softcap 15" not in said
    assert "1.20000" in said


def test_after_the_end_nothing_is_said_of_today_or_of_a_session_that_is_over() -> None:
    llm = LlmStatus(model="sonnet", state="thinking", until=NOW + 60, spent_today=1.5, spent_total=4.0, thinking=1)
    data = _data(llm=llm, busy_share=0.5, thinking=2, ready=1, until=NOW + 30)
    same_day, next_day = text(data, None, now=NOW + 60), text(data, None, now=NOW + 86_400)
    assert "model   sonnet: off: no daemon asks it; $1.50 of $0.00 today, $4.00 in all" in same_day
    assert "$0.00 of $0.00 today, $4.00 in all" in next_day
    assert "devices were busy 50% of the last 10 min 00 s" in next_day
    assert "again in" not in same_day
    assert "devices busy 50% of the session" in text(data, 4242)
    found = as_json(data, None, now=NOW + 86_400)
    assert (found["llm"]["spent_today"], found["llm"]["spent_total"], found["llm"]["state"]) == (0.0, 4.0, "off")
    assert (found["ready"], found["thinking"], found["until"]) == (0, 0, None)
    assert as_json(data, 4242)["llm"]["state"] == "thinking"


def test_a_finished_daemon_says_so() -> None:
    said = text(_data(state="finished", why="the target is reached"), holder=None)
    assert "the last one finished at" in said
    assert "(the target is reached)" in said


def test_the_status_of_an_earlier_daemon_is_not_the_present_ones() -> None:
    said = text(_data(), holder=99)
    assert "pid 99" in said
    assert "Softcap 15" not in said


def test_nothing_ever_ran() -> None:
    assert "`autoresearchd run` starts one" in text(None, holder=None)
    assert as_json(None, None) == {
        "running": False,
        "holder": None,
        "last_state": None,
        "state": "not running",
        "devices": [],
    }


def test_a_held_daemon_says_why_and_until_when() -> None:
    said = text(_data(state="held", why="the disk is full", until=1_700_000_630.0), holder=4242)
    assert "held: the disk is full, again in 30 s" in said


def test_json_of_a_live_daemon_is_its_status() -> None:
    found = as_json(_data(), holder=4242)
    assert (found["running"], found["holder"], found["state"], found["kept"]) == (True, 4242, "training", 2)
    assert found["devices"][0]["title"] == "Softcap 15"


def test_json_of_a_dead_daemon_has_nothing_in_training() -> None:
    found = as_json(_data(), holder=None)
    assert (found["running"], found["state"], found["last_state"]) == (False, "not running", "training")
    assert found["devices"] == []
    assert found["best"] == 1.2


def test_json_is_strict_even_where_a_loss_is_no_number() -> None:
    data = status(devices=(device(train_loss=float("nan")),)).to_json()
    assert json.loads(json.dumps(as_json(data, 4242), allow_nan=False))["devices"][0]["train_loss"] is None


def test_a_status_of_another_version_is_said_plainly() -> None:
    assert "not of this version" in text({"format": 99, "pid": 4242}, holder=4242)
    assert "not of this version" in text(_data() | {"direction": "sideways"}, holder=4242)


def test_a_field_of_a_newer_version_does_no_harm() -> None:
    assert "training" in text(_data() | {"mood": "good"}, holder=4242)


def test_no_title_steers_the_terminal() -> None:
    said = text(_data(best_title=EVIL, why=EVIL, devices=(device(title=EVIL, model=EVIL),)), holder=4242)
    assert said.count("owned") == 3
    assert not [char for char in said if not char.isprintable() and char != "\n"]


def test_the_file_is_read_where_the_daemon_writes_it(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / "autoresearchd").mkdir()
    (tmp_path / "autoresearchd" / "status.json").write_text(json.dumps(_data()))
    assert read(tmp_path) == _data()


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "autoresearchd").mkdir()
    (tmp_path / "autoresearchd" / "status.json").write_text('{"pid": 4')
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)


def test_nothing_heavy_is_imported_for_a_status() -> None:
    code = (
        "import sys; import autoresearchd.report.status; "
        "print([m for m in ('torch', 'optuna', 'libcst', 'anthropic', 'rich', 'pygit2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
