"""Whatever a person types, and whatever state a lab is in: one sentence with the way out, exit code 2, no traceback."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from autoresearchd.bulletin import write_status
from autoresearchd.cli import main
from autoresearchd.experiment import Outcome, Verdict
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import environment
from tests.page.served import climbed_lab
from tests.report.nouns import status
from tests.support.damage import RUNS, forge, harm
from tests.support.fakes import proposal
from tests.support.projects import git

BUFFERED = {**environment(), "PYTHONUNBUFFERED": ""}
"""What is left to be written is then written at the very end, as it is for people."""
Typed = tuple[int, str, str]
"""Exit code, standard output and standard error."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return climbed_lab(tmp_path_factory.mktemp("mistakes")).parent


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a program with a lab of two keeps, and the current one."""
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def typed(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Typed]:
    """The command line as the console script runs it."""
    assert Path.cwd() == home

    def run(*arguments: str) -> Typed:
        monkeypatch.setattr(sys, "argv", ["autoresearchd", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["nonsense"], "`autoresearchd --help`"),
        (["run", "--experiments", "-1"], "`autoresearchd run --help`"),
        (["run", "--hours", "soon"], "invalid value for '--hours'"),
        (["run", "--until", "val_bpb<nan"], "'val_bpb<1.23'"),
        (["run", "--until", "val_bpb<inf"], "'val_bpb<1.23'"),
        (["run", "--until", "val_bpb>1"], "'val_bpb<1.23'"),
        (["run", "--metrics-port", "99999"], "`autoresearchd run --help`"),
        (["log", "-n", "0"], "`autoresearchd log --help`"),
        (["log", "--verdict", "kept"], "known are open, baseline, keep"),
        (["log", "--since", "yesterday"], "write 12h, 2d"),
        (["show"], "missing argument 'EXPERIMENT'"),
        (["show", ""], "`autoresearchd log` lists them"),
        (["show", "999"], "`autoresearchd log` lists them"),
        (["show", "--all"], "no such option: --all"),
        (["show", "best:train.py"], "`autoresearchd log` lists them"),
        (["skip", "1"], "`status` lists those"),
        (["stop"], "`autoresearchd status`"),
        (["propose"], "or `--llm --dry-run`"),
        (["propose", "no-such-branch"], "neither a file nor a branch"),
        (["propose", "program.toml"], "make it against `best`"),
        (["propose", "--words", " "], "say what should be tried"),
        (["propose", "--llm"], "`--llm --dry-run`"),
        (["report", "--md", "--json"], "exclude each other"),
        (["report", "-o", "nowhere/report.html"], "nowhere/report.html cannot be written: No such file"),
        (["report", "-o", "project"], "project cannot be written: Is a directory"),
        (["report", "--plot", "nowhere/best.png"], "nowhere/best.png cannot be written: No such file"),
        (["report", "--plot", "best.gif"], ".png, .svg, .pdf"),
        (["export"], "`--patches FOLDER` or `--branch NAME`"),
        (["export", "--branch", "bad name"], "no name for a branch"),
        (["export", "--branch", "found", "3"], "`autoresearchd log --verdict keep`"),
        (["export", "--patches", "program.toml"], "name another folder"),
        (["rebase", "--onto", "nowhere"], "'nowhere' is no commit"),
        (["reproduce", "99"], "`autoresearchd log` lists them"),
        (["import", "no-such-file"], "no-such-file cannot be read"),
        (["ablate", "--json"], "give --list with it"),
        (["backup", "program.toml"], "cannot be copied"),
        (["serve", "--port", "99999"], "`autoresearchd serve --help`"),
        (["serve", "--host", "203.0.113.1"], "choose another"),
        (["top"], "`autoresearchd status`"),
        (["log", "--program", "elsewhere.toml"], "elsewhere.toml"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence_that_names_the_way_out(
    typed: Callable[..., Typed], words: list[str], way_out: str
) -> None:
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert err.startswith("autoresearchd: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert way_out in err


def test_nothing_half_written_is_left_of_a_report_that_could_not_be_written(
    typed: Callable[..., Typed], home: Path
) -> None:
    before = sorted(home.iterdir())
    typed("report", "-o", "project")
    assert sorted(home.iterdir()) == before


def test_a_half_written_program_lets_people_look_and_stop(typed: Callable[..., Typed], home: Path) -> None:
    (home / "program.toml").write_text((home / "program.toml").read_text()[:40])
    assert typed("status")[0] == 0
    assert typed("pause")[:2] == (0, "paused; `autoresearchd resume` goes on\n")
    assert typed("resume")[0] == 0
    for words in (["log"], ["run"], ["report"], ["show", "1"], ["serve"], ["fsck"]):
        code, out, err = typed(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert err.startswith("autoresearchd: program.toml"), err


def test_a_run_in_which_no_file_may_be_edited_is_refused_as_init_is(typed: Callable[..., Typed], home: Path) -> None:
    """No idea could ever come, and a night would be spent on waiting for one."""
    program = (home / "program.toml").read_text()
    (home / "program.toml").write_text(program.replace('"train.py"]', '"trian.py"]', 1))
    before = git(home / "experiments.git", "for-each-ref")
    for words, where in ((["run", "--experiments", "1"], "best in "), (["init"], str(home))):
        code, out, err = typed(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"no committed file of {where}" in err
        assert "matches program.editable (trian.py); commit it or mend the glob" in err
    assert git(home / "experiments.git", "for-each-ref") == before


def test_without_a_daemon_the_status_is_of_best_as_it_is_now(typed: Callable[..., Typed], home: Path) -> None:
    """Somebody put it back by hand, or a rebase moved it: what the last daemon wrote is of before."""
    lab = home / "experiments.git"
    write_status(lab, status(best_number=2, best_title="As it was"))
    assert "best    0002" in typed("status")[1]
    git(lab, "update-ref", "refs/heads/best", "best^")
    assert "best    0001" in typed("status")[1]
    assert json.loads(typed("status", "--json")[1])["best_number"] == 1


@pytest.mark.parametrize("how", ["patch", "branch"])
def test_an_idea_that_could_never_be_trained_is_not_queued(typed: Callable[..., Typed], home: Path, how: str) -> None:
    """It would take a number, and one of those that a session may spend."""
    project = home / tomli.loads((home / "program.toml").read_text())["program"].get("project", ".")
    git(project, "checkout", "-q", "-b", "aside")
    (project / "elsewhere.py").write_text("SPEED = 2\n")
    git(project, "add", "elsewhere.py")
    git(project, "commit", "-q", "-m", "Change what is not mine")
    (home / "idea.patch").write_text(git(project, "format-patch", "-1", "--stdout"))
    before = git(home / "experiments.git", "for-each-ref")
    code, out, err = typed("propose", "aside" if how == "branch" else "idea.patch")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'elsewhere.py' is outside the editable paths" in err
    assert git(home / "experiments.git", "for-each-ref") == before


@pytest.mark.parametrize(
    "words", [["log"], ["run"], ["report"], ["pause"], ["fsck"], ["serve"], ["propose", "--words", "x"]]
)
def test_a_lab_of_a_newer_format_is_left_alone(typed: Callable[..., Typed], home: Path, words: list[str]) -> None:
    lab = home / "experiments.git"
    blob = git(lab, "hash-object", "-w", "--stdin", given="99\n").strip()
    git(lab, "update-ref", "refs/autoresearch/format", blob)
    before = git(lab, "for-each-ref")
    code, out, err = typed(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "install the newer autoresearchd that wrote it" in err
    assert git(lab, "for-each-ref") == before


@pytest.mark.parametrize("words", [["report"], ["propose", "--words", "x"], ["export", "--branch", "found"]])
def test_a_lab_whose_best_is_gone_says_who_knows_the_way_out(
    typed: Callable[..., Typed], home: Path, words: list[str]
) -> None:
    git(home / "experiments.git", "update-ref", "-d", "refs/heads/best")
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert "refs/heads/best: it is missing; `autoresearchd fsck` says what is wrong" in err


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "put on what was discarded"])
def test_nothing_is_researched_on_a_best_without_evidence(typed: Callable[..., Typed], home: Path, gone: bool) -> None:
    (home / "results.tsv").write_text("commit\tval_bpb\tmemory_gb\tstatus\tdescription\na1b2c3d\t1.0\t1\tkeep\tFirst\n")
    lab = home / "experiments.git"
    best = git(lab, "rev-parse", "best").strip()
    kept = Ledger(lab)
    experiment = kept.open_experiment(proposal(kept.best().commit, "RATE = 9\n"), now=0.0)
    discarded = kept.conclude(experiment, Verdict(outcome=Outcome.DISCARD, why="worse"), metric="loss", now=0.0)
    number, commit = discarded.experiment.number, discarded.experiment.commit
    git(lab, "update-ref", *(["-d", "refs/heads/best"] if gone else ["refs/heads/best", commit]))
    before = git(lab, "for-each-ref")
    what = "refs/heads/best is missing" if gone else f"{number:04d} is on best without a verdict that moves it"
    way = f"`git update-ref refs/heads/best {best}` in experiments.git goes back to what is backed"
    for words in (["run", "--experiments", "2"], ["import", "results.tsv"], ["rebase"], ["reproduce", "best"]):
        assert typed(*words) == (2, "", f"autoresearchd: {what}; {way}\n"), words
    assert git(lab, "for-each-ref") == before


@pytest.mark.parametrize("content", [None, b"junk\n"], ids=["gone", "junk"])
def test_an_experiment_that_the_disk_lost_is_not_said_never_to_have_been(
    typed: Callable[..., Typed], home: Path, content: bytes | None
) -> None:
    lab = home / "experiments.git"
    (commit,) = git(lab, "for-each-ref", "--format=%(objectname)", "refs/heads/exp/0001-*").split()
    harm(lab, commit, content)
    code, out, err = typed("show", "1")
    assert (code, out) == (2, "")
    assert err.endswith("autoresearchd: 0001 is there and cannot be read; `autoresearchd fsck` says the way out\n")


def test_a_run_that_somebody_took_away_comes_back_as_fsck_says(typed: Callable[..., Typed], home: Path) -> None:
    lab, copy = home / "experiments.git", str(home / "copy")
    typed("backup", copy)
    place = git(lab, "ls-tree", "-r", "--name-only", RUNS).split()[0]
    forge(lab, place, None)
    assert "`autoresearchd backup --runs-back BACKUP` files again" in typed("fsck")[1]
    assert typed("backup", "--runs-back", copy) == (0, f"1 run brought back from {copy}\n", "")
    assert git(lab, "ls-tree", "-r", RUNS) == git(home / "copy", "ls-tree", "-r", RUNS)


def test_an_experiment_whose_branch_was_deleted_is_said_to_be_on_best(typed: Callable[..., Typed], home: Path) -> None:
    lab = home / "experiments.git"
    (ref,) = git(lab, "for-each-ref", "--format=%(refname)", "refs/heads/exp/0001-*").split()
    git(lab, "update-ref", "-d", ref)
    code, out, err = typed("show", "1")
    assert (code, out) == (2, "")
    assert err == "autoresearchd: 0001 has no branch; it is on best, and `autoresearchd fsck` says the way out\n"


def test_an_experiment_whose_branch_was_deleted_is_said_to_have_been_with_the_way_back(
    typed: Callable[..., Typed], home: Path
) -> None:
    lab, copy = home / "experiments.git", home / "copy"
    typed("backup", str(copy))
    (ref,) = git(lab, "for-each-ref", "--format=%(refname)", "refs/heads/exp/0003-*").split()
    git(lab, "update-ref", "-d", ref)
    for words in (["show", "3"], ["reproduce", "3"]):
        code, out, err = typed(*words)
        assert (code, out) == (2, "")
        assert err.startswith("autoresearchd: 0003 was given and its branch is gone; what was measured stays under ")
    (command,) = re.findall("`(.*?)`", err)
    subprocess.run(["sh", "-c", command.replace("BACKUP", str(copy))], cwd=lab, check=True, capture_output=True)
    assert typed("show", "3")[0] == 0
    assert "there is no experiment 0004" in typed("show", "4")[2]


@pytest.mark.parametrize("words", [["status"], ["log"], ["stop"], ["pause"], ["run"], ["init"], ["fsck"], ["mcp"]])
def test_a_file_in_the_place_of_a_lab_is_no_lab(typed: Callable[..., Typed], home: Path, words: list[str]) -> None:
    shutil.rmtree(home / "experiments.git")
    (home / "experiments.git").write_text("no lab\n")
    code, out, err = typed(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (home / "experiments.git").read_text() == "no lab\n"


@pytest.mark.parametrize("words", [["log"], ["schema"]])
def test_a_disk_that_is_full_is_one_sentence(home: Path, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autoresearchd", *words],
            cwd=home, env=BUFFERED, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "autoresearchd: the output: No space left on device; make room\n"
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt-get install bubblewrap")
@pytest.mark.parametrize("words", [["pause"], ["propose", "--words", "Try it"], ["run"]])
def test_a_lab_that_can_only_be_read_is_one_sentence(home: Path, words: list[str]) -> None:
    box = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", "/tmp", "/tmp"]
    command = [*box, "--ro-bind", str(home), str(home), "--", sys.executable, "-m", "autoresearchd", *words]
    done = subprocess.run(command, cwd=home, env=BUFFERED, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("words", [["log"], ["schema"], ["fsck"]])
def test_a_reader_who_goes_away_is_not_spoken_of(home: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "autoresearchd", *words]
    with subprocess.Popen(
        command, cwd=home, env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
