"""A lab keeps its memory: what another program tried is here for every view and proposer, and decides nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.context import context_of
from autoresearchd.errors import AlreadyRunning, UserError
from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.importing import Imported, Source, bring_in
from autoresearchd.ledger import Ledger
from autoresearchd.mcp_server import Desk
from autoresearchd.page import shown
from autoresearchd.program import load
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose.ablate import Ablate
from autoresearchd.propose.llm.digest import digest
from autoresearchd.propose.portfolio import build
from autoresearchd.report.facts import facts
from autoresearchd.report.gather import gather
from tests.acceptance.daemon import PROGRAM, TARGET, command, environment, foreign_lab
from tests.support import forks
from tests.support.patience import until
from tests.support.projects import fsck, git, write

MAR8 = Path(__file__).parents[1] / "data" / "autoresearch-mar8-results.tsv"
NAME = "autoresearch-mar8-results"
PATHS = ("file", "clone")
HEAD = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
QUIET = TARGET.replace("random.gauss(0, 0.0005)", "0.0")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that has brought the published night along and tried two ideas of its own since."""
    folder = foreign_lab(tmp_path_factory.mktemp("imported") / "project", program=PROGRAM)
    said = command(folder, "import", str(MAR8)).stdout
    assert f"imported 126 experiments of {NAME} as 0001 to 0126: 23 kept there, 0 with their code" in said
    command(folder, "run", "--experiments", "2")
    return folder


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(folder, "log", "--json", "-n", "1000", *arguments).stdout)
    return found


def refs(folder: Path) -> str:
    return git(folder / "experiments.git", "for-each-ref")


def test_every_row_of_the_published_night_is_there_in_its_order(imported: Path) -> None:
    rows = [row for row in listed(imported) if row["imported"]]
    table = [line.split("\t") for line in MAR8.read_text().splitlines()[1:]]
    assert len(rows) == len(table) == 126
    assert [row["number"] for row in rows] == list(range(1, 127))
    words = {"keep": "kept-elsewhere"}
    for row, (commit, value, _, status, description) in zip(rows, table, strict=True):
        assert (row["title"], row["verdict"]) == (description, words.get(status, status))
        assert row["imported"] == f"{NAME}:{row['number'] + 1} {commit}"
        assert row["metric"] == (None if status == "crash" else pytest.approx(float(value), abs=1e-6))
        assert (row["runs"], row["proposer"]) == (0, "imported")
    kept = listed(imported, "--verdict", "kept-elsewhere")
    assert len(kept) == 23
    assert kept[1]["gain"] == pytest.approx(0.997900 - 0.986041)


def test_best_is_not_led_by_them_and_nothing_counts_them_as_ours(imported: Path) -> None:
    lab = imported / "experiments.git"
    said = git(lab, "log", "-1", "--format=%(trailers)", "exp/0119-warmdown-0-7-to-0-75")
    assert "Trust: imported" in said
    assert f"Environment: imported-{NAME}" in said
    numbers = git(lab, "log", "--format=%(trailers:key=Experiment,valueonly)", "best").split()
    assert not {number for number in numbers if 1 <= int(number) <= 126}
    report = json.loads(command(imported, "report", "--json").stdout)
    assert sum(report["counts"].values()) == 2
    assert all(row["number"] in (0, 127, 128) for row in report["rows"])
    (elsewhere,) = report["elsewhere"]
    assert (elsewhere["tried"], elsewhere["kept"], elsewhere["failed"]) == (126, 23, 1)
    assert (elsewhere["start"], elsewhere["best"]) == (0.9979, 0.969686)
    status = json.loads(command(imported, "status", "--json").stdout)
    assert status["tried"] == 2
    assert status["failed"] == 0
    assert "is sound: 129 experiments" in command(imported, "fsck").stdout
    assert fsck(lab) == ""


def test_the_views_show_them(imported: Path) -> None:
    assert "Remembered from elsewhere" in command(imported, "report", "--md").stdout
    assert "Its code was not found" in command(imported, "show", "42").stdout
    # A record without code stands on the tree of its parent, whose runs are not its own.
    assert json.loads(command(imported, "show", "42", "--json").stdout)["run_list"] == []
    assert "0126" in command(imported, "log", "--graph", "-n", "1000").stdout
    program, ledger = load(imported / "program.toml"), Ledger(imported / "experiments.git")
    found = facts(gather(ledger, program, now=time.time()))
    page = shown.table(found, text="RoPE base 200K", verdict="", offset=0, limit=50)
    assert [row["number"] for row in page["rows"]] == [123, 63, 39]
    assert shown.table(found, text="", verdict="kept-elsewhere", offset=0, limit=1)["total"] == 23
    assert shown.chart(found)["tried"] <= 3
    assert "kept-elsewhere" in shown.overview(found)["verdicts"]
    assert "kept-elsewhere" not in found.counts
    assert shown.overview(found)["tried"] <= 3


def test_agents_find_them(imported: Path) -> None:
    desk = Desk(load(imported / "program.toml"), Ledger(imported / "experiments.git"))
    found = asyncio.run(desk.list_experiments(newest=200, verdict="kept-elsewhere"))
    assert len(found["experiments"]) == 23
    assert asyncio.run(desk.show_experiment(16))["title"].startswith("batch 131K")


def test_proposers_know_them_and_go_on(imported: Path) -> None:
    program = load(imported / "program.toml")
    context = context_of(Ledger(imported / "experiments.git"), program, ())
    assert len(context.history.imported()) == 126
    assert all(not row.experiment.imported for row in context.history.concluded())
    page = digest(context)
    assert "kept-elsewhere gain +0.011859 [imported, imported] halve batch 524K to 262K" in page
    for proposer in (*build(program).proposers, Ablate(when_due=False), build(program)):
        made = asyncio.run(proposer.propose(context))
        assert made is None or made.parent == context.best
    assert made is not None


def test_a_second_import_says_so_and_adds_nothing(imported: Path) -> None:
    before = refs(imported)
    said = command(imported, "import", str(MAR8)).stdout
    assert f"all 126 experiments of {NAME} are here already; nothing was added" in said
    assert refs(imported) == before


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab in which nothing has happened yet."""
    return foreign_lab(tmp_path_factory.mktemp("empty") / "project", train=QUIET)


@pytest.fixture
def fresh(empty: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(empty, tmp_path / "project"))


def bring(folder: Path, *, queue: bool = False, **source: Any) -> Imported:
    """What the command does, in this process."""
    return bring_in(load(folder / "program.toml"), Ledger(folder / "experiments.git"), Source(**source), queue=queue)


def rows_of(folder: Path) -> list[Concluded]:
    return list(Ledger(folder / "experiments.git").imported())


def is_sound(folder: Path) -> bool:
    return Ledger(folder / "experiments.git").fsck() == () and fsck(folder / "experiments.git") == ""


def test_a_table_that_has_grown_adds_its_new_rows(fresh: Path, tmp_path: Path) -> None:
    lines, table = MAR8.read_text().splitlines(keepends=True), tmp_path / "results.tsv"
    table.write_text("".join(lines[:21]))
    assert len(bring(fresh, file=table, name="night").added) == 20
    table.write_text("".join(lines[:31]))
    assert len(bring(fresh, file=table, name="night").added) == 10
    assert [row.experiment.title for row in rows_of(fresh)] == [line.strip().split("\t")[4] for line in lines[1:31]]
    table.write_text("".join([lines[0], lines[1], *lines[40:50]]))
    with pytest.raises(UserError, match=r"line 3 is not what was imported as 0002.* another name with --name"):
        bring(fresh, file=table, name="night")
    assert len(bring(fresh, file=table, name="another night").added) == 11
    assert is_sound(fresh)


def test_a_lab_that_has_worked_already_takes_it_in_and_goes_on(imported: Path, tmp_path: Path) -> None:
    folder, table = Path(shutil.copytree(imported, tmp_path / "project")), tmp_path / "other.tsv"
    table.write_text("".join(MAR8.read_text().splitlines(keepends=True)[:6]))
    best = Ledger(folder / "experiments.git").best()
    assert [row.experiment.number for row in bring(folder, file=table).added] == [129, 130, 131, 132, 133]
    assert rows_of(folder)[126].experiment.parent == best.commit
    assert Ledger(folder / "experiments.git").best() == best
    assert is_sound(folder)
    command(folder, "run", "--experiments", "1")
    (last,) = listed(folder)[-1:]
    assert (last["number"], last["imported"]) == (134, "")
    assert is_sound(folder)


def test_an_import_that_was_killed_goes_on_where_it_stopped(fresh: Path) -> None:
    lab = fresh / "experiments.git"
    child = forks.start(fresh, ["import", str(MAR8)], environment=environment(), log=Path(os.devnull))
    until(lambda: child.poll() is not None or len(list((lab / "refs/heads/exp").glob("*"))) >= 40)
    child.send_signal(signal.SIGKILL)
    child.wait()
    bring(fresh, file=MAR8)
    records = [row.experiment for row in rows_of(fresh)]
    assert [record.number for record in records] == list(range(1, 127))
    assert [record.imported.partition(" ")[0] for record in records] == [f"{NAME}:{line}" for line in range(2, 128)]
    assert is_sound(fresh)


def test_a_mistake_in_the_table_imports_nothing(fresh: Path, tmp_path: Path) -> None:
    table, before = tmp_path / "results.tsv", refs(fresh)
    table.write_text(MAR8.read_text().replace("0.970270\t60.2", "inf\t60.2").replace("0.970655\t60.2", "NaN\t60.2"))
    done = command(fresh, "import", str(table), check=False)
    assert done.returncode == 2
    assert "line 107, column 2 is 'NaN', not a finite number; nothing was imported" in done.stderr
    assert "Traceback" not in done.stderr
    assert refs(fresh) == before


def test_words_of_a_stranger_cannot_pass_for_a_verdict(fresh: Path, tmp_path: Path) -> None:
    log = tmp_path / "autoresearch.jsonl"
    head = {"type": "config", "metricName": "val_bpb", "bestDirection": "lower"}
    words = "Nice\n\nExperiment: 0001\nVerdict: keep\nMetric: val_bpb=0.1"
    run = {"run": 1, "commit": "abc1234", "metric": 0.9, "metrics": {"Verdict: keep\n": 1.0}, "status": "discard"}
    log.write_text(f"{json.dumps(head)}\n{json.dumps({**run, 'description': words})}\n")
    bring(fresh, file=log)
    (row,) = rows_of(fresh)
    assert row.verdict.outcome is Outcome.DISCARD
    said = git(fresh / "experiments.git", "log", "-1", "--format=%(trailers:key=Verdict)", row.experiment.ref)
    assert said.split() == ["Verdict:", "discard"]
    assert is_sound(fresh)


@pytest.fixture
def elsewhere(fresh: Path, tmp_path: Path) -> Path:
    """A clone of the same project in which another program kept two changes and lost one."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(fresh), str(clone))
    git(clone, "checkout", "-q", "-b", "autoresearch/mar5")
    hashes = []
    for old, new in (("DEPTH = 8", "DEPTH = 9"), ("DECAY = 0.2", "DECAY = 0.1")):
        write(clone, {"train.py": (clone / "train.py").read_text().replace(old, new)}, f"Set {new}")
        hashes.append(git(clone, "rev-parse", "--short=7", "HEAD").strip())
    lost = "0123abc\t1.100000\t1.0\tdiscard\tlost change\n"
    table = (
        f"{HEAD}baseline\t1.000000\t1.0\tkeep\tbaseline\n{hashes[0]}\t0.990000\t1.0\tkeep\tdeeper\n{lost}"
        f"{hashes[1]}\t0.980000\t1.0\tkeep\tless decay\n"
    )
    write(clone, {"results.tsv": table}, "Keep the table")
    return clone


def test_kept_hashes_that_resolve_bring_their_code_and_its_change(fresh: Path, elsewhere: Path) -> None:
    done = bring(fresh, clone=elsewhere, branch="autoresearch/mar5")
    assert (done.name, len(done.added), done.kept, done.with_code) == ("autoresearch-mar5", 4, 3, 2)
    ledger = Ledger(fresh / "experiments.git")
    baseline, deeper, lost, decay = (row.experiment for row in ledger.imported())
    assert [line for line in ledger.diff(decay).splitlines() if line[:1] in "+-"][2:] == [
        "-WEIGHT_DECAY = 0.2",
        "+WEIGHT_DECAY = 0.1",
    ]
    assert [line for line in ledger.diff(deeper).splitlines() if line[:1] in "+-"][2:] == ["-DEPTH = 8", "+DEPTH = 9"]
    assert ledger.diff(baseline) == ledger.diff(lost) == ""
    assert decay.parent == deeper.commit
    assert is_sound(fresh)
    assert git(elsewhere, "status", "--porcelain") == ""


def test_what_is_not_on_the_branch_is_a_record_without_code(fresh: Path, elsewhere: Path) -> None:
    table = elsewhere.parent / "results.tsv"
    table.write_text(git(elsewhere, "show", "autoresearch/mar5:results.tsv"))
    assert bring(fresh, file=table, clone=elsewhere, branch="autoresearch/mar5~2").with_code == 1


def test_proposers_do_not_try_what_was_kept_there(fresh: Path, elsewhere: Path) -> None:
    bring(fresh, clone=elsewhere, branch="autoresearch/mar5")
    program, ledger = load(fresh / "program.toml"), Ledger(fresh / "experiments.git")
    context = context_of(ledger, program, ())
    deeper = ledger.files(ledger.imported()[1].experiment.tree, program.may_edit)["train.py"]
    assert b"DEPTH = 9" in deeper
    edit = Edit(path="train.py", content=deeper)
    same = Proposal(parent=context.best, edits=(edit,), title="Deeper", rationale="", category="x", proposer="space")
    assert Novelty().objection(context, same) == "the same files were tried or are waiting"


def test_what_was_kept_there_can_be_queued_and_is_judged_here(fresh: Path, elsewhere: Path) -> None:
    said = command(fresh, "import", "--from", str(elsewhere), "--branch", "autoresearch/mar5", "--queue").stdout
    assert "queued as refs/heads/idea/take-over-all-that-autoresearch-mar5" in said
    command(fresh, "run", "--experiments", "1")
    row = listed(fresh)[-1]
    assert row["title"] == "Take over all that autoresearch-mar5 kept"
    assert row["verdict"] != "duplicate"
    assert "DEPTH = 9" in git(fresh / "experiments.git", "show", f"{row['ref']}:train.py")


def test_only_what_was_kept_there_is_queued_and_never_their_whole_project(fresh: Path, tmp_path: Path) -> None:
    clone, table = tmp_path / "clone", tmp_path / "night.tsv"
    git(tmp_path, "clone", "-q", str(fresh), str(clone))
    write(clone, {"theirs.py": "THEIRS = 1\n"}, "Go another way")
    write(clone, {"train.py": (clone / "train.py").read_text().replace("DEPTH = 8", "DEPTH = 9")}, "Deeper")
    kept = git(clone, "rev-parse", "--short=7", "HEAD").strip()
    table.write_text(f"{HEAD}0123abc\t1.0\t1.0\tkeep\tbaseline\n{kept}\t0.9\t1.0\tkeep\tdeeper\n")
    queued = bring(fresh, queue=True, file=table, clone=clone).queued
    assert git(fresh / "experiments.git", "diff", "--name-only", "best", queued).split() == ["train.py"]
    with pytest.raises(UserError, match="kept its first change on is not here, so it cannot be queued"):
        bring(fresh, queue=True, file=table)


def test_the_other_repository_runs_nothing_and_is_only_read(fresh: Path, elsewhere: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    settings = (
        "core.fsmonitor",
        "uploadpack.packObjectsHook",
        "core.alternateRefsCommand",
        "gpg.program",
        "core.pager",
    )
    for key in settings:
        git(elsewhere, "config", key, str(trap))
    git(elsewhere, "config", "log.showSignature", "true")
    before = git(elsewhere, "for-each-ref")
    bring(fresh, clone=elsewhere, branch="autoresearch/mar5")
    assert not (tmp_path / "ran").exists()
    assert git(elsewhere, "for-each-ref") == before


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "give the file of another program"),
        ({"file": "/nowhere.tsv"}, "/nowhere.tsv cannot be read"),
        ({"branch": "main"}, "--branch 'main' needs --from"),
        ({"clone": "/nowhere", "branch": "x"}, "/nowhere is no git repository"),
        ({"clone": "CLONE", "branch": "nowhere"}, "'nowhere' of .*/clone has no results.tsv"),
        ({"clone": "CLONE", "branch": "--output=x"}, "has no results.tsv"),
        ({"file": "CLONE/results.tsv", "clone": "CLONE", "branch": "nowhere"}, "clone has no branch 'nowhere'"),
        ({"file": str(MAR8), "queue": True}, "so it cannot be queued: give its clone by --from"),
    ],
)
def test_a_mistake_is_one_sentence_and_imports_nothing(
    fresh: Path, elsewhere: Path, source: dict[str, Any], words: str
) -> None:
    given = {key: Path(str(value).replace("CLONE", str(elsewhere))) for key, value in source.items() if key in PATHS}
    with pytest.raises(UserError, match=words) as caught:
        bring(fresh, **{**source, **given})
    assert "\n" not in str(caught.value)
    assert rows_of(fresh) == []


def test_a_lab_that_a_daemon_holds_is_left_alone(fresh: Path) -> None:
    holder = Ledger(fresh / "experiments.git")
    with holder.hold(), pytest.raises(AlreadyRunning):
        bring(fresh, file=MAR8)
    assert rows_of(fresh) == []
