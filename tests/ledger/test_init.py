"""A lab is made from what is committed; the user's checkout is looked at and never touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger, project_state
from tests.ledger.lab import FILES, fsck, git, project, snapshot, with_baseline, write

SCRIPT = """
import sys
from pathlib import Path
from autoresearchd.ledger import Ledger, project_state
from tests.ledger.lab import discarded, kept, with_baseline
project, lab = Path(sys.argv[1]), Path(sys.argv[2])
project_state(project)
ledger = Ledger.init(lab, project_path=project)
with ledger.hold():
    with_baseline(ledger)
    kept(ledger, "RATE = 0.2\\r\\n")
    kept(ledger, "RATE = 0.2\\n", path="unix.py")
    discarded(ledger, "RATE = 0.3\\n")
    ledger.submit_branch(project, "HEAD~0")
    ledger.ideas()
    ledger.pack()
    folder = lab / "out"
    folder.mkdir()
    ledger.checkout(ledger.best().tree, folder)
    print(ledger.best().commit, [path.read_bytes() for path in sorted(folder.iterdir())])
    print(ledger.verify())
"""


def _checked(lab: Path, source: Path) -> Ledger:
    ledger = Ledger.init(lab, project_path=source)
    with_baseline(ledger)
    assert ledger.verify() == ()
    assert fsck(lab) == ""
    return ledger


def test_a_lab_in_its_project_is_not_added_to_it(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    Ledger.init(source / "experiments.git", project_path=source)
    git(source, "add", "-A")
    assert git(source, "status", "--porcelain") == ""


def test_best_starts_at_the_projects_head_and_histories_are_shared(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    write(source, {"train.py": "RATE = 0.2\n"})
    ledger = Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert ledger.best().commit == git(source, "rev-parse", "HEAD").strip()
    assert ledger.best().number is None
    assert ledger.best_record() is None
    assert git(ledger.path, "rev-list", "--count", "best").strip() == "2"
    assert git(ledger.path, "symbolic-ref", "HEAD").strip() == "refs/heads/best"


def test_what_is_not_committed_is_said_and_not_used(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    (source / "train.py").write_text("RATE = 9\n")
    git(source, "mv", "data.py", "ab c.py")
    (source / "grüße.md").write_text("x")
    git(source, "add", "grüße.md")
    (source / "untracked.py").write_text("x")
    assert sorted(project_state(source).dirty) == ["ab c.py", "data.py", "grüße.md", "train.py"]
    ledger = Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert ledger.files(ledger.best().tree, lambda path: path == "train.py") == {"train.py": FILES["train.py"].encode()}


def test_a_clean_project_is_clean(tmp_path: Path) -> None:
    state = project_state(project(tmp_path / "project"))
    assert (state.dirty, state.branch, sorted(state.tracked)) == ((), "main", sorted(FILES))


def test_the_users_checkout_is_the_same_to_the_byte_and_the_nanosecond(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    (source / "train.py").write_text("RATE = 9\n")
    (source / "untracked.py").write_text("x")
    # An index whose stat cache is stale: git would like to refresh it.
    os.utime(source / "data.py", ns=(1, 1))
    before = snapshot(source)
    project_state(source)
    ledger = _checked(tmp_path / "experiments.git", source)
    ledger.submit_branch(source, "main")
    assert snapshot(source) == before


def test_a_detached_head_is_used_as_it_is(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    first = git(source, "rev-parse", "HEAD").strip()
    write(source, {"train.py": "RATE = 0.2\n"})
    git(source, "checkout", "-q", first)
    assert project_state(source).branch == "a detached HEAD"
    assert _checked(tmp_path / "experiments.git", source).best_record() is not None
    assert git(tmp_path / "experiments.git", "rev-parse", "best~1").strip() == first


def test_a_worktree_gives_its_own_head(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    git(source, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    write(tmp_path / "tree", {"train.py": "RATE = 0.7\n"})
    ledger = _checked(tmp_path / "experiments.git", tmp_path / "tree")
    assert git(ledger.path, "rev-parse", "best~1") == git(tmp_path / "tree", "rev-parse", "HEAD")


def test_a_shallow_clone_will_do(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    for rate in range(3):
        write(source, {"train.py": f"RATE = {rate}\n"})
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{source}", "shallow")
    ledger = _checked(tmp_path / "experiments.git", tmp_path / "shallow")
    assert git(ledger.path, "rev-list", "--count", "best~1").strip() == "2"
    assert ledger.submit_branch(tmp_path / "shallow", "main").startswith("refs/heads/idea/")


def test_a_path_with_spaces_and_odd_letters_will_do(tmp_path: Path) -> None:
    source = project(tmp_path / "my project: 'ü' $HOME")
    assert _checked(tmp_path / "the lab's experiments.git", source).best().number == 0


def test_a_folder_within_the_project_stands_for_the_project(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    write(source, {"sub/train.py": "RATE = 1\n"})
    assert "sub/train.py" in project_state(source / "sub").tracked
    ledger = _checked(source / "experiments.git", source / "sub")
    assert "sub/train.py" in ledger.files(ledger.best().tree, lambda path: True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_project_of_another_owner_will_do(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    for path in [source, *source.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert _checked(tmp_path / "experiments.git", source).submit_branch(source, "main")


@pytest.mark.parametrize("number", ["0000", "0042"])
def test_a_finding_of_another_lab_at_the_projects_head_is_no_experiment_of_this_one(
    tmp_path: Path, number: str
) -> None:
    source = project(tmp_path / "project")
    message = f"Raise the rate\n\nExperiment: {number}\nLines: +1 -1\nVerdict: keep\nMetric: val_bpb=0.9\n"
    git(source, "commit", "-q", "--allow-empty", "-F", "-", given=message)
    ledger = Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert ledger.best().number is None
    baseline = ledger.open_baseline(now=1.0)
    assert ledger.best().number is None
    assert ledger.landed(baseline) is None
    assert ledger.verify() == ()


@pytest.mark.parametrize("what", ["nothing", "a file", "no commits", "a bare repository"])
def test_what_is_no_checkout_with_a_commit_is_refused(tmp_path: Path, what: str) -> None:
    source = tmp_path / "project"
    if what == "a file":
        source.write_text("x")
    if what == "no commits":
        source.mkdir()
        git(source, "init", "-q")
    if what == "a bare repository":
        git(project(tmp_path / "full"), "clone", "-q", "--bare", ".", str(source))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError):
        Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert sorted(tmp_path.iterdir()) == before


def test_a_lab_that_is_there_is_left_alone(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    Ledger.init(tmp_path / "experiments.git", project_path=source)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("missing", ["HEAD^{tree}", "HEAD~1", "HEAD~1:train.py"])
def test_nothing_is_left_behind_where_a_lab_cannot_be_made(tmp_path: Path, missing: str) -> None:
    source = project(tmp_path / "project")
    write(source, {"train.py": "RATE = 0.2\n"})
    oid = git(source, "rev-parse", missing).strip()
    (source / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError):
        Ledger.init(tmp_path / "experiments.git", project_path=source)
    assert sorted(tmp_path.iterdir()) == before


def test_a_lab_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        Ledger.init(tmp_path / "missing" / "experiments.git", project_path=project(tmp_path / "project"))


def test_opening_what_is_no_lab_is_refused_even_inside_a_project(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    (source / "experiments.git").mkdir()
    for path in (source / "experiments.git", source / "missing.git"):
        with pytest.raises(UserError, match="autoresearchd init"):
            Ledger(path)


def test_packing_a_broken_lab_does_not_reach_the_project_around_it(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    ledger = Ledger.init(source / "experiments.git", project_path=source)
    (ledger.path / "HEAD").unlink()
    before = snapshot(source / ".git")
    with pytest.raises(Exception, match="not a git repository"):
        ledger.pack()
    assert snapshot(source / ".git") == before


def _hostile(folder: Path) -> dict[str, str]:
    """A home and an environment that would sign, hook, rewrite, redirect and convert."""
    hooks, template = folder / "hooks", folder / "template"
    for name in ("pre-commit", "commit-msg", "update", "reference-transaction", "post-checkout", "fsmonitor"):
        for place in (hooks, template / "hooks"):
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(f"#!/bin/sh\ntouch {folder}/hook-ran\nexit 1\n")
            (place / name).chmod(0o755)
    (template / "config").write_text("[core]\n\tlogAllRefUpdates = false\n")
    (folder / ".gitattributes").write_text("* text eol=crlf\n")
    (folder / ".gitconfig").write_text(
        f"""[commit]\n\tgpgsign = true\n[tag]\n\tgpgsign = true\n[gpg]\n\tprogram = {hooks}/update
[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n\teol = crlf\n\tattributesFile = {folder}/.gitattributes
\tfsmonitor = {hooks}/fsmonitor\n\tlogAllRefUpdates = false\n\tbare = false
[init]\n\ttemplateDir = {template}\n\tdefaultBranch = trunk\n\tdefaultObjectFormat = sha256
[url "file:///nowhere/"]\n\tinsteadOf = /\n[protocol]\n\tallow = never\n[user]\n\tuseConfigOnly = true
[fetch]\n\tprune = true\n[transfer]\n\tfsckObjects = true\n[color]\n\tui = always\n[log]\n\tshowSignature = true
[diff]\n\texternal = false\n\tnoprefix = true\n[apply]\n\twhitespace = error\n[trailer]\n\tseparators = "%"
"""
    )
    return {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "GIT_DIR": str(folder / "nowhere"),
        "GIT_WORK_TREE": str(folder),
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_AUTHOR_NAME": "Mallory",
        "GIT_AUTHOR_DATE": "1999-01-01T00:00:00Z",
        "GIT_COMMITTER_EMAIL": "m@example.org",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hooks),
        "GIT_EXTERNAL_DIFF": "/bin/false",
        "GIT_TRACE": str(folder / "trace"),
    }


def test_the_users_configuration_and_environment_change_nothing(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    hostile = tmp_path / "home"
    hostile.mkdir()
    said = {}
    for name, environment in (("plain", {}), ("hostile", _hostile(hostile))):
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") and key != "HOME"}
        command = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / f"{name}.git")]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, env=plain | environment, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    assert said["hostile"] == said["plain"]
    assert sorted(path.name for path in hostile.iterdir()) == [".gitattributes", ".gitconfig", "hooks", "template"]
    logs = [(tmp_path / f"{name}.git" / "logs/refs/heads/best").read_text() for name in said]
    assert [line.split("\t")[1] for line in logs[0].splitlines()] == [
        line.split("\t")[1] for line in logs[1].splitlines()
    ]
    assert not (tmp_path / "hostile.git" / "hooks").exists()
