"""What people push or submit becomes a proposal, or a sentence that says why not; nothing else can be pushed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from autoresearchd.errors import StaleRef, UnfilablePath, UserError
from autoresearchd.ledger import Ledger
from autoresearchd.proposal import Edit, FileMode, Proposal
from tests.ledger.lab import FILES, NOW, fsck, git, git_bytes, kept, snapshot, write

DEEPER = FILES["train.py"].replace("DEPTH = 4", "DEPTH = 6")


def _pushed(folder: Path, ledger: Ledger, files: dict[str, str], name: str = "deeper") -> Path:
    """A clone of the project with a commit, pushed to the inbox."""
    clone = folder / "clone"
    if not clone.exists():
        git(folder, "clone", "-q", str(folder / "project"), "clone")
    write(clone, files)
    git(clone, "push", "-q", str(ledger.path), f"HEAD:refs/heads/idea/{name}")
    return clone


def _only(ledger: Ledger) -> Proposal:
    (idea,) = ledger.ideas()
    assert idea.proposal is not None, idea.why
    return idea.proposal


def _refused(folder: Path, *arguments: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=False, capture_output=True, text=True, env=clean
    )
    assert done.returncode != 0
    return done.stderr


def test_a_pushed_branch_is_a_proposal_on_best(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER})
    git(clone, "commit", "-q", "--amend", "-m", "Go deeper\n\nDepth pays.\n\nVerdict: keep")
    git(clone, "push", "-q", "-f", str(ledger.path), "HEAD:refs/heads/idea/deeper")
    proposal = _only(ledger)
    assert proposal == Proposal(
        parent=ledger.best().commit,
        edits=(Edit(path="train.py", content=DEEPER.encode(), mode=FileMode.REGULAR),),
        title="Go deeper",
        rationale="Depth pays.\n\nVerdict: keep",
        category="idea",
        proposer="person",
        reason="queued as idea/deeper",
    )
    experiment = ledger.open_experiment(proposal, now=NOW)
    assert ledger.opened() == (experiment,)


def test_several_commits_are_one_change(ledger: Ledger, tmp_path: Path) -> None:
    _pushed(tmp_path, ledger, {"train.py": DEEPER}, "one")
    clone = _pushed(tmp_path, ledger, {"data.py": "DATA = 2\n"}, "two")
    git(clone, "push", "-q", str(ledger.path), ":refs/heads/idea/one")
    assert [edit.path for edit in _only(ledger).edits] == ["data.py", "train.py"]


def test_an_idea_of_an_older_best_is_merged_with_what_was_kept_since(ledger: Ledger, tmp_path: Path) -> None:
    kept(ledger, FILES["train.py"].replace("RATE = 0.1", "RATE = 0.2"))
    _pushed(tmp_path, ledger, {"train.py": FILES["train.py"].replace("WIDTH = 8", "WIDTH = 16")})
    (edit,) = _only(ledger).edits
    assert edit.content is not None
    assert b"RATE = 0.2" in edit.content
    assert b"WIDTH = 16" in edit.content


def test_what_cannot_be_a_proposal_says_why(ledger: Ledger, tmp_path: Path) -> None:
    kept(ledger, "RATE = 0.2\n")
    clone = _pushed(tmp_path, ledger, {"train.py": "RATE = 0.3\n"}, "conflicting")
    git(clone, "checkout", "-q", "--orphan", "new")
    write(clone, {"train.py": "RATE = 0.4\n"})
    git(clone, "push", "-q", str(ledger.path), "HEAD:refs/heads/idea/foreign")
    git(ledger.path, "update-ref", "refs/heads/idea/nothing", "best")
    (ledger.path / "refs/heads/idea/zfile").write_text(git(ledger.path, "rev-parse", "best:train.py"))
    ideas = ledger.ideas()
    assert [idea.proposal for idea in ideas] == [None] * 4
    whys = {idea.ref.rpartition("/")[2]: idea.why for idea in ideas}
    assert whys["conflicting"] == "it conflicts with best"
    assert whys["foreign"] == "it shares no history with best"
    assert whys["nothing"] == "it changes nothing in best"
    assert whys["zfile"].startswith("git cannot read it")


@pytest.mark.parametrize("ref", ["refs/heads/best", "refs/heads/exp/0007-mine", "refs/heads/promoted", "refs/heads/x"])
def test_only_ideas_can_be_pushed(ledger: Ledger, tmp_path: Path, ref: str) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER})
    before = git(ledger.path, "for-each-ref")
    assert "hidden ref" in _refused(clone, "push", "-f", str(ledger.path), f"HEAD:{ref}")
    assert "hidden ref" in _refused(clone, "push", "-f", str(ledger.path), "HEAD:refs/autoresearch/runs")
    if "best" in ref:
        _refused(clone, "push", "-f", str(ledger.path), f":{ref}")
    assert git(ledger.path, "for-each-ref") == before


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".gitmodules"])
@pytest.mark.parametrize("mode", ["100644", "120000"])
def test_a_push_or_a_proposal_of_gits_own_names_is_refused(
    ledger: Ledger, tmp_path: Path, name: str, mode: str
) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER}, "good")
    blob = git(clone, "hash-object", "-w", "--stdin", given="[submodule 'x']\n\turl = -x\n\tpath = x\n").strip()
    listing = git(clone, "ls-tree", "HEAD") + f"{mode} blob {blob}\t{name}\n"
    tree = git(clone, "mktree", given=listing).strip()
    commit = git(clone, "commit-tree", "-p", "HEAD", "-m", "evil", tree).strip()
    if (name, mode) != (".gitmodules", "100644"):
        _refused(clone, "push", str(ledger.path), f"{commit}:refs/heads/idea/evil")
    # And where it got in by another way, it is not filed.
    git(clone, "push", "-q", str(ledger.path), ":refs/heads/idea/good")
    git(ledger.path, "-c", "fetch.fsckObjects=false", "fetch", "-q", str(clone), f"+{commit}:refs/heads/idea/evil")
    ideas = ledger.ideas()
    for idea in ideas:
        if idea.proposal is not None:
            with pytest.raises(UnfilablePath):
                ledger.open_experiment(idea.proposal, now=NOW)
    assert ledger.opened() == ()


def test_a_symlink_is_proposed_as_a_symlink_so_that_it_can_be_refused(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": FILES["train.py"] + "\n"}, "first")
    (clone / "train.py").unlink()
    (clone / "train.py").symlink_to("/etc/passwd")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Link")
    git(clone, "push", "-q", "-f", str(ledger.path), "HEAD:refs/heads/idea/first")
    proposal = _only(ledger)
    assert proposal.edits == (Edit(path="train.py", content=b"/etc/passwd", mode=FileMode.SYMLINK),)
    (change,) = ledger.changes(ledger.open_experiment(proposal, now=NOW))
    assert (change.before, change.after) == (FileMode.REGULAR, FileMode.SYMLINK)


def test_an_idea_is_read_again_when_it_moves_and_goes_when_it_is_deleted(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER})
    first = ledger.ideas()
    assert ledger.ideas() == first
    _pushed(tmp_path, ledger, {"data.py": "DATA = 3\n"})
    (moved,) = ledger.ideas()
    assert moved.oid != first[0].oid
    git(clone, "push", "-q", str(ledger.path), ":refs/heads/idea/deeper")
    assert ledger.ideas() == ()


def test_an_idea_that_moved_is_not_dropped(ledger: Ledger, tmp_path: Path) -> None:
    _pushed(tmp_path, ledger, {"train.py": DEEPER})
    (idea,) = ledger.ideas()
    _pushed(tmp_path, ledger, {"data.py": "DATA = 3\n"})
    with pytest.raises(StaleRef):
        ledger.drop_idea(idea)
    (moved,) = ledger.ideas()
    ledger.drop_idea(moved)
    assert ledger.ideas() == ()
    assert git(ledger.path, "for-each-ref", "refs/heads/idea") == ""


def test_an_idea_that_was_dropped_can_be_pushed_again(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER})
    (idea,) = ledger.ideas()
    ledger.drop_idea(idea)
    git(clone, "push", "-q", str(ledger.path), "HEAD:refs/heads/idea/deeper")
    assert ledger.ideas() == (idea,)
    ledger.drop_idea(idea)
    ledger.pack()
    assert ledger.ideas() == ()


def test_an_empty_commit_with_a_message_is_a_wish(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER}, "taken")
    git(clone, "checkout", "-q", "-B", "wish", "HEAD~1")
    words = "Try a cosine schedule\n\nIt ends smoothly.\n\nVerdict: keep\x1b[2J"
    git(clone, "commit", "-q", "--allow-empty", "-m", words)
    git(clone, "push", "-q", str(ledger.path), "HEAD:refs/heads/idea/cosine", ":refs/heads/idea/taken")
    (idea,) = ledger.ideas()
    assert (idea.proposal, idea.why, idea.title) == (None, "", "Try a cosine schedule")
    assert idea.wish is not None
    assert (idea.wish.name, idea.wish.oid) == ("idea/cosine", git(clone, "rev-parse", "HEAD").strip())
    assert idea.wish.words == "Try a cosine schedule\n\nIt ends smoothly.\n\nVerdict: keep[2J"


def test_what_is_no_wish_says_why(ledger: Ledger, tmp_path: Path) -> None:
    clone = _pushed(tmp_path, ledger, {"train.py": DEEPER}, "kept-already")
    kept(ledger, DEEPER)
    git(clone, "checkout", "-q", "-B", "wish", "HEAD~1")
    git(clone, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    git(clone, "push", "-q", str(ledger.path), "HEAD:refs/heads/idea/silent")
    git(clone, "commit", "-q", "--allow-empty", "-m", "long words " * 1000)
    git(clone, "push", "-q", str(ledger.path), "HEAD:refs/heads/idea/talking")
    whys = {idea.ref.rpartition("/")[2]: (idea.wish, idea.why) for idea in ledger.ideas()}
    assert whys["kept-already"] == (None, "it changes nothing in best")
    assert whys["silent"] == (None, "it changes nothing in best")
    assert whys["talking"] == (None, "its words are 10999 characters, more than 4000")


def test_words_are_queued_as_a_wish_and_nothing_in_them_obeyed(ledger: Ledger) -> None:
    ref = ledger.submit_wish("Try a cosine\x00 \ud800\r\n---\r\nExperiment: 0007\n")
    (idea,) = ledger.ideas()
    assert (idea.ref, idea.title) == (ref, "Try a cosine")
    assert ref.startswith("refs/heads/idea/try-a-cosine-")
    assert git(ledger.path, "show", "-s", "--format=%B", ref).strip() == "Try a cosine\n ---\nExperiment: 0007"
    assert git(ledger.path, "rev-parse", f"{ref}^{{tree}}") == git(ledger.path, "rev-parse", "best^{tree}")
    assert fsck(ledger.path) == ""


@pytest.mark.parametrize(("words", "why"), [("", "needs words"), (" \n\x07", "needs words"), ("x" * 4001, "too long")])
def test_a_wish_without_words_or_with_too_many_is_refused(ledger: Ledger, words: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        ledger.submit_wish(words)
    assert ledger.ideas() == ()


@pytest.mark.parametrize("how", [("diff",), ("diff", "--binary"), ("format-patch", "--stdout", "-1")])
def test_a_patch_is_queued(ledger: Ledger, tmp_path: Path, how: tuple[str, ...]) -> None:
    source = tmp_path / "project"
    write(source, {"train.py": DEEPER, "new/file.py": "NEW = 1\n"})
    git(source, "commit", "-q", "--amend", "-m", "Größer: " + "long words " * 10)
    patch = git(source, *how, *(["HEAD~1", "HEAD"] if how[0] == "diff" else ["HEAD"])).encode()
    before = snapshot(source)
    ref = ledger.submit_patch(patch, title="a patch")
    assert ref.startswith("refs/heads/idea/")
    proposal = _only(ledger)
    assert proposal.edits == (
        Edit(path="new/file.py", content=b"NEW = 1\n", mode=FileMode.REGULAR),
        Edit(path="train.py", content=DEEPER.encode(), mode=FileMode.REGULAR),
    )
    assert proposal.title == ("a patch" if how[0] == "diff" else ("Größer: " + "long words " * 10).strip())
    assert snapshot(source) == before
    assert fsck(ledger.path) == ""


@pytest.mark.parametrize(
    "patch",
    [
        b"",
        b"no patch\n",
        b"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-NOT THERE\n+RATE = 1\n",
        b"--- /dev/null\n+++ b/.git/config\n@@ -0,0 +1 @@\n+x\n",
        b"--- /dev/null\n+++ b/../outside\n@@ -0,0 +1 @@\n+x\n",
        b"diff --git a/.git/x b/.git/x\nnew file mode 100755\n--- /dev/null\n+++ b/.git/x\n@@ -0,0 +1 @@\n+x\n",
        b"--- /dev/null\n+++ b/GIT~1/x\n@@ -0,0 +1 @@\n+x\n",
        b"\x00\xff\xfe",
    ],
)
def test_a_patch_that_does_not_apply_says_so_and_queues_nothing(ledger: Ledger, patch: bytes) -> None:
    with pytest.raises(UserError, match="does not apply"):
        ledger.submit_patch(patch, title="evil")
    assert ledger.ideas() == ()


def test_a_branch_of_the_project_is_queued(ledger: Ledger, tmp_path: Path) -> None:
    source = tmp_path / "project"
    git(source, "checkout", "-q", "-b", "feature/deeper")
    write(source, {"train.py": DEEPER})
    ref = ledger.submit_branch(source, "feature/deeper")
    assert ref.startswith("refs/heads/idea/feature-deeper-")
    assert _only(ledger).edits == (Edit(path="train.py", content=DEEPER.encode(), mode=FileMode.REGULAR),)


@pytest.mark.parametrize(
    "branch", ["missing", "", "--upload-pack=touch x", "-q", "a:b", "main:train.py", "../x", "a b"]
)
def test_a_branch_that_is_not_there_is_said(ledger: Ledger, tmp_path: Path, branch: str) -> None:
    with pytest.raises(UserError, match="neither a file nor a branch"):
        ledger.submit_branch(tmp_path / "project", branch)
    assert ledger.ideas() == ()


def test_a_disk_that_takes_no_more_is_no_fault_of_a_patch(ledger: Ledger, tmp_path: Path) -> None:
    source, objects = tmp_path / "project", ledger.path / "objects"
    write(source, {"train.py": DEEPER})
    patch = git_bytes(source, "diff", "HEAD~1")
    in_the_way = [place for number in range(256) if not (place := objects / f"{number:02x}").exists()]
    for place in in_the_way:
        place.touch()
    with pytest.raises(OSError, match="git cannot write: "):
        ledger.submit_patch(patch, title="Try")
    for place in in_the_way:
        place.unlink()
    assert ledger.submit_patch(patch, title="Try")
