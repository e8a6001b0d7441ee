"""What each kept change is worth today: taken out of best again, and measured; dead weight goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.daemon import PROGRAM, command, foreign_lab, queue, start, stop, wait_for
from tests.support.projects import WITHOUT_IDEAS, fsck, git

TRAIN = '''"""A training whose noise is its seed's; what is called `helps` has no effect any more once BETTER is set."""
import os
import random

RATE = 0.04


def rate():
    return RATE


helps = 0.0


def spread():
    return random.Random(int(os.environ["AUTORESEARCH_SEED"])).gauss(0, 0.0002)


BETTER = 0


def main():
    effect = 0.02 * bool(BETTER) + 0.01 * bool(helps) * (not BETTER)
    print(f"val_bpb: {0.95 + abs(rate() - 0.08) - effect + spread():.6f}")


main()
'''
QUIET = WITHOUT_IDEAS + "[propose.null]\nevery = 0\n"
SLACK = "[accept]\nmin_delta = 0.002\n"
BY_HAND = "[propose.ablate]\nevery = 0\n"
DEAD = "BETTER = 0\nBETTER += 0\nBETTER += 0\nBETTER += 0\n"
RATE, HELPS, BETTER = "Double the rate", "Add what helps", "Make it better"
CHANGES = (
    (RATE, "RATE = 0.04", "RATE = 0.08"),
    (HELPS, "helps = 0.0\n", "helps = 0.0\nhelps += 0.5\nhelps += 0.5\n"),
    (BETTER, "BETTER = 0", "BETTER = 1"),
)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that has kept a real gain, one that the third has made useless since, and that third."""
    program = PROGRAM + QUIET + SLACK + BY_HAND
    folder = foreign_lab(tmp_path_factory.mktemp("night") / "project", train=TRAIN, program=program)
    for title, old, new in CHANGES:
        queue(folder, title, old, new)
        command(folder, "run", "--experiments", "1")
    assert verdicts(folder) == ["baseline", "keep", "keep", "keep"]
    return folder


@pytest.fixture
def lab(night: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    folder = tmp_path / "project"
    shutil.copytree(night, folder)
    return folder


def verdicts(folder: Path) -> list[str]:
    return [row["verdict"] for row in json.loads(command(folder, "log", "--json").stdout)]


def table(folder: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads(command(folder, "ablate", "--list", "--json").stdout)
    return {row["title"]: row for row in rows}


def best(folder: Path) -> str:
    return git(folder / "experiments.git", "show", "best:train.py")


def test_dead_weight_goes_and_a_real_gain_stays_with_what_it_is_worth(lab: Path) -> None:
    """The session takes each change out once; what it ends with is the table."""
    said = command(lab, "ablate").stdout
    assert "helps += 0.5" not in best(lab)
    assert "RATE = 0.08" in best(lab)
    assert "BETTER = 1" in best(lab)
    found = table(lab)
    assert list(found) == [RATE, HELPS, BETTER]
    assert found[HELPS]["is_dead_weight"]
    assert not found[RATE]["is_dead_weight"]
    assert "for good" in said
    assert abs(found[RATE]["today"] - 0.04) <= 3 * found[RATE]["today_error"]
    assert abs(found[HELPS]["today"]) <= 3 * found[HELPS]["today_error"]
    kept = git(lab / "experiments.git", "log", "-1", "--format=%s%n%(trailers)", "best")
    assert kept.startswith("Take out 0002: Add what helps")
    assert "Category: simplify" in kept
    assert "smaller" in kept
    assert "is sound" in command(lab, "fsck").stdout
    assert fsck(lab / "experiments.git") == ""
    # Nothing is taken out twice, nothing is put back, and what took something out is not taken out itself.
    before = verdicts(lab)
    command(lab, "ablate")
    assert verdicts(lab) == before


def test_the_report_says_what_each_change_is_worth_today(lab: Path) -> None:
    command(lab, "ablate", "--experiments", "1")
    assert "Worth today" in command(lab, "report", "--md").stdout
    (row,) = [row for row in json.loads(command(lab, "report", "--json").stdout)["worth"] if row["trial"] is not None]
    assert (row["title"], row["trial"]) == (RATE, 4)


def test_the_dead_part_of_a_change_goes_and_the_rest_of_it_stays(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project", train=TRAIN, program=PROGRAM + QUIET + SLACK + BY_HAND)
    (folder / "train.py").write_text(TRAIN.replace("RATE = 0.04", "RATE = 0.08").replace("BETTER = 0\n", DEAD))
    command(folder, "propose", "-", "--title", "Two at once", given=git(folder, "diff"))
    command(folder, "run", "--experiments", "1")
    assert verdicts(folder) == ["baseline", "keep"]
    command(folder, "ablate", "--parts")
    rows = json.loads(command(folder, "log", "--json", "--proposer", "ablate").stdout)
    assert [(row["title"], row["verdict"]) for row in rows] == [
        ("Take out part 1 of 0001: Two at once", "discard"),
        ("Take out part 2 of 0001: Two at once", "keep"),
    ]
    assert best(folder) == TRAIN.replace("RATE = 0.04", "RATE = 0.08")


def test_listing_trains_nothing(lab: Path) -> None:
    before = git(lab / "experiments.git", "for-each-ref")
    assert RATE in command(lab, "ablate", "--list").stdout
    assert table(lab)[BETTER]["today"] == table(lab)[BETTER]["gain"]
    assert table(lab)[RATE]["today"] is None
    assert git(lab / "experiments.git", "for-each-ref") == before


def test_in_quiet_hours_the_daemon_does_it_by_itself(lab: Path) -> None:
    program = lab / "program.toml"
    program.write_text(program.read_text().replace(BY_HAND, ""))
    daemon = start(lab)
    try:
        wait_for(lab, "experiment_concluded", count=2)
    finally:
        stop(daemon)
    rows = json.loads(command(lab, "log", "--json", "--proposer", "ablate").stdout)
    assert [row["title"] for row in rows[:2]] == [f"Take out 0001: {RATE}", f"Take out 0002: {HELPS}"]
    reasons = git(lab / "experiments.git", "log", "-1", "--format=%(trailers:key=Reason)", rows[0]["ref"])
    assert "Nobody else had anything to say" in reasons


def test_without_a_keep_there_is_nothing_to_take_out(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project", train=TRAIN)
    done = command(folder, "ablate", check=False)
    assert done.returncode == 2
    assert "nothing was kept yet" in done.stderr
    assert "nothing was kept yet" in command(folder, "ablate", "--list").stdout
