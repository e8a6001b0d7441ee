"""The real project goes on: its new commits come under best, and what was kept is replayed and measured on them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from autoresearchd.experiment import TreeOid
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import PROGRAM, command, environment, foreign_lab, patch, queue
from tests.acceptance.test_handover import refused
from tests.support import forks
from tests.support.patience import until
from tests.support.projects import WITHOUT_IDEAS, fsck, git

TRAIN = '''"""A training whose noise is its seed's."""
import os
import random

MATRIX_LR = 0.04


def rate():
    return MATRIX_LR


WEIGHT_DECAY = 0.2


def decay():
    return WEIGHT_DECAY


DEPTH = 4


def main():
    noise = random.Random(int(os.environ["AUTORESEARCH_SEED"])).gauss(0, 0.0005)
    loss = abs(rate() - 0.08) + abs(decay() - 0.1) + abs(DEPTH - 6) / 50
    print(f"val_bpb: {0.95 + loss + noise:.6f}")


main()
'''
LR, DECAY, DEPTH = "Double the learning rate", "Halve the weight decay", "Make it deeper"
IDEAS = ((LR, "LR = 0.04", "LR = 0.08"), (DECAY, "DECAY = 0.2", "DECAY = 0.1"), (DEPTH, "DEPTH = 4", "DEPTH = 6"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose lab has kept three ideas."""
    folder = foreign_lab(tmp_path_factory.mktemp("night") / "project", train=TRAIN, program=PROGRAM + WITHOUT_IDEAS)
    for title, old, new in IDEAS:
        queue(folder, title, old, new)
        command(folder, "run", "--experiments", "1")
    return folder


@pytest.fixture
def project(night: Path, tmp_path: Path) -> Path:
    """A copy of the project, lab and all."""
    shutil.copytree(night, tmp_path / "project")
    return tmp_path / "project"


def go_on(folder: Path, old: str = "", new: str = "", *, title: str = "Move on") -> str:
    """A commit of the user's: a line of train.py, and one that has nothing to do with it."""
    path, readme = folder / "train.py", folder / "README.md"
    if old:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    readme.write_text(readme.read_text() + f"{title}.\n")
    git(folder, "commit", "-q", "-am", title)
    return git(folder, "rev-parse", "HEAD").strip()


def lab(folder: Path, *arguments: str) -> str:
    return git(folder / "experiments.git", *arguments)


def line(folder: Path, branch: str = "best") -> list[str]:
    """What lies on the user's commit, oldest first."""
    return lab(
        folder, "log", "--reverse", "--format=%s", branch, "--not", git(folder, "rev-parse", "HEAD").strip()
    ).split("\n")[:-1]


def sound(folder: Path) -> None:
    assert "is sound" in command(folder, "fsck").stdout
    assert fsck(folder / "experiments.git") == ""


def train(folder: Path) -> str:
    return lab(folder, "show", "best:train.py")


def trailer(folder: Path, key: str, commit: str = "best") -> str:
    return lab(folder, "log", "-1", f"--format=%(trailers:key={key},valueonly,separator=%x2C)", commit).strip()


def test_unrelated_commits_come_under_best_and_everything_kept_stays(project: Path) -> None:
    before, head = lab(project, "rev-parse", "best").strip(), go_on(project)
    theirs = git(project, "for-each-ref"), git(project, "status", "--porcelain")
    said = command(project, "rebase").stdout
    assert line(project) == [LR, DECAY, DEPTH, f"Rebase 3 kept changes onto {head[:10]}"]
    assert "Move on" in lab(project, "show", "best:README.md")
    assert all(new in train(project) for _, _, new in IDEAS)
    assert lab(project, "rev-parse", "line/0000").strip() == before
    assert "line/0000" in said
    assert said.count("carried over on ") == 3
    assert (git(project, "for-each-ref"), git(project, "status", "--porcelain")) == theirs
    sound(project)


def test_the_new_line_says_what_was_measured_on_it_and_where_the_rest_was(project: Path) -> None:
    wanted = go_on(project)
    go_on(project, title="Move further")
    command(project, "rebase", "--onto", "HEAD~1")
    assert "best    0004  val_bpb" in command(project, "status").stdout, "no daemon has run since"
    assert trailer(project, "Verdict") == "baseline"
    assert trailer(project, "Carried") == "0001 0002 0003"
    assert trailer(project, "Rebased-Onto") == wanted, "an older commit can be named"
    ours, theirs = (float(trailer(project, key).partition("=")[2]) for key in ("Metric", "Baseline"))
    assert theirs - ours == pytest.approx(0.18, abs=0.005)
    kept = lab(project, "rev-parse", "refs/heads/exp/0003-make-it-deeper").strip()
    assert trailer(project, "Carried-From", "best^") == kept
    assert not trailer(project, "Metric", "best^")
    assert not trailer(project, "Verdict", "best^")


def test_what_the_project_has_taken_is_told_from_what_conflicts(project: Path) -> None:
    git(project, "fetch", "-q", "experiments.git", "refs/heads/*:refs/remotes/lab/*")
    git(project, "cherry-pick", "lab/exp/0002-halve-the-weight-decay")
    go_on(project, "MATRIX_LR = 0.04", "MATRIX_LR = 0.05", title="Change the same line")
    said = command(project, "rebase").stdout
    assert "0002 already there" in said
    assert "0001 conflicts" in said
    assert line(project)[0] == DEPTH
    assert trailer(project, "Carried") == "0003"
    assert "Conflicts: 0001" in lab(project, "log", "-1", "--format=%b", "best")
    assert "MATRIX_LR = 0.05" in train(project)
    sound(project)


def test_what_no_longer_holds_is_tried_again_one_by_one(project: Path) -> None:
    """Upstream the depth and the rate have lost their use; together with them the decay is hidden."""
    go_on(
        project, "abs(rate() - 0.08) + abs(decay() - 0.1) + abs(DEPTH - 6) / 50", "abs(decay() - 0.1) + rate() * DEPTH"
    )
    command(project, "propose", "--words", "Try a cosine")
    said = command(project, "rebase").stdout
    assert "is not shown to be better" in said
    assert re.findall("^queued: (.*)$", said, re.MULTILINE) == [LR, DECAY, DEPTH], "and not a wish of before"
    assert len(line(project)) == 1
    assert "MATRIX_LR = 0.04" in train(project)
    assert lab(project, "for-each-ref", "--format=%(refname)", "refs/heads/idea").count("again-000") == 3
    sound(project)
    command(project, "run", "--experiments", "3")
    assert line(project)[1:] == [DECAY]
    sound(project)


def test_the_daemon_goes_on_and_keeps_something_on_the_new_line(project: Path) -> None:
    go_on(project, "abs(DEPTH - 6) / 50", "abs(DEPTH - 8) / 50")
    command(project, "rebase")
    command(project, "propose", "-", "--title", "Deeper still", given=patch(train(project), "DEPTH = 6", "DEPTH = 8"))
    command(project, "run", "--experiments", "1")
    assert line(project)[-1] == "Deeper still"
    assert "0005 " in command(project, "log").stdout
    for words in (("status",), ("show", "4"), ("log", "--graph"), ("report", "--md")):
        assert "Traceback" not in command(project, *words).stderr
    sound(project)


def test_a_second_rebase_goes_on_top_of_the_first(project: Path) -> None:
    go_on(project)
    command(project, "rebase")
    first = lab(project, "rev-parse", "best").strip()
    head = go_on(project, "DEPTH = 4", "DEPTH = 6", title="Deepen it ourselves")
    assert "0003 already there" in command(project, "rebase").stdout
    assert line(project) == [LR, DECAY, f"Rebase 2 kept changes onto {head[:10]}"]
    assert lab(project, "rev-parse", "line/0004").strip() == first
    sound(project)


def test_a_kept_change_still_applies_alone_and_can_be_exported(project: Path) -> None:
    go_on(project)
    command(project, "rebase")
    git(project, "fetch", "-q", "experiments.git", "best")
    git(project, "checkout", "-q", "-b", "mine")
    git(project, "cherry-pick", "FETCH_HEAD~2")
    assert "DECAY = 0.1" in (project / "train.py").read_text()
    git(project, "checkout", "-q", "main")
    said = command(project, "export", "--branch", "found").stdout
    assert "3 measured improvements of val_bpb, 1.13" in said
    assert "0001, 0002, 0003: measured on older code of the project" in said
    assert git(project, "log", "--reverse", "--format=%s", "main..found").splitlines() == [LR, DECAY, DEPTH]
    assert "val_bpb=" in git(project, "log", "-1", "--format=%(trailers:key=Metric,valueonly)", "found")


def test_a_commit_that_does_not_train_by_itself_moves_nothing(project: Path) -> None:
    before = lab(project, "for-each-ref", "refs/heads")
    go_on(project, "import random\n", "import random\nraise SystemExit('broken upstream')\n")
    done = command(project, "rebase", check=False)
    assert done.returncode == 2
    assert "by itself does not train (broken upstream)" in done.stderr
    assert lab(project, "for-each-ref", "refs/heads") == before
    sound(project)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "already"), (("--onto", "nowhere"), "'nowhere' is no commit"), (("--onto=--x",), "no commit")],
)
def test_a_mistake_is_one_sentence(project: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(project, "rebase", *arguments)


def test_killed_while_it_trains_it_leaves_the_old_lab_and_goes_on_with_what_it_has_measured(project: Path) -> None:
    gate, program = project / "gate", project / "program.toml"
    gate.mkdir()
    program.write_text(program.read_text() + '[sandbox]\nreadable = ["gate"]\n')
    wait = f"while DEPTH == 6 and not os.path.exists({str(gate / 'open')!r}):\n    time.sleep(0.05)\n"
    go_on(project, "import os\n", "import os\nimport time\n")
    go_on(project, "def main():\n", f"{wait}\n\ndef main():\n")
    before = lab(project, "for-each-ref", "refs/heads")
    killed = forks.start(project, ["rebase"], environment=environment(), log=Path(os.devnull))
    until(lambda: len(runs_of_head(project)) == 3 and killed.poll() is None)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert lab(project, "for-each-ref", "refs/heads") == before
    sound(project)
    (gate / "open").touch()
    measured = runs_of_head(project)
    command(project, "rebase")
    assert measured <= runs_of_head(project)
    assert line(project)[:3] == [LR, DECAY, DEPTH]
    seeds = [run.split("-")[1] for run in runs_of_head(project)]
    assert len(seeds) == len(set(seeds)), "what was measured is measured again"
    sound(project)


def runs_of_head(folder: Path) -> set[str]:
    """The runs of the project by itself."""
    tree = TreeOid(git(folder, "rev-parse", "HEAD^{tree}").strip())
    return {run.run for run in Ledger(folder / "experiments.git").measurements(tree)}
