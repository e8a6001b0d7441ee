"""What a model or an agent may not leave in the tree of an experiment, and what it is told."""

from __future__ import annotations

import pytest

from autoresearchd.proposal import Edit, FileMode
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._strangers import MOST_BYTES, refusal
from tests.propose.fakes import FakeLab
from tests.propose.test_portfolio import proposal

FILES = {
    "train.py": "RATE = 1\nSTEPS = 2\n",
    "old.py": b"RATE = 1\r\nSTEPS = 2\r\n",
    "café.py": "X = 1\n",
    "models/a.py": "X = 1\n",
}


def lab() -> FakeLab:
    the_lab = FakeLab(FILES)
    subject = the_lab.program.program.model_copy(update={"protected": ("evaluate.py",)})
    the_lab.program = the_lab.program.model_copy(update={"program": subject})
    return the_lab


def edit(path: str, content: bytes | None = b"X = 2\n", mode: FileMode | None = None) -> Edit:
    return Edit(path=path, content=content, mode=mode)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (edit("../outside.py"), "outside the editable paths"),
        (edit("/etc/passwd"), "outside the editable paths"),
        (edit("evaluate.py"), "is protected"),
        (edit("Evaluate.py"), "is protected"),
        (edit(".git/hooks/pre-commit"), "obeyed by other programs"),
        (edit("vendor/.GIT/config"), "obeyed by other programs"),
        (edit(".gitmodules"), "read without being asked"),
        (edit(".gitattributes"), "read without being asked"),
        (edit(".github/workflows/ci.yml"), "obeyed by other programs"),
        (edit(".gitlab-ci.yml"), "obeyed by other programs"),
        (edit("Jenkinsfile"), "obeyed by other programs"),
        (edit("torch.py"), "shadows the module torch"),
        (edit("fast.so"), "in the place of readable source"),
        (edit("train.py", None), "cannot be removed"),
        (edit("link.py", b"train.py", FileMode.SYMLINK), "symbolic link"),
        (edit("sub", b"0" * 40, FileMode.SUBMODULE), "submodule"),
        (edit("train.py", b"X = 1\n", FileMode.EXECUTABLE), "file mode"),
        (edit("weights.bin", b"\0\1\2"), "binary"),
        (edit("train.py", b"RATE = 1\n\xff\xfe\n"), "binary"),
        (edit("train.py", b"#" * (MOST_BYTES + 1)), f"more than {MOST_BYTES}"),
        (edit("train.py", b"RATE = 1\r\nSTEPS = 2\r\n"), "carriage returns"),
        (edit("new.py", b"X = 1\r\n"), "carriage returns"),
        (edit("train.py", b"\n"), "left empty"),
        (edit("Train.py"), "'train.py' are one file"),
        (edit("cafe\u0301.py"), "are one file"),
        (edit("train.py/x.py"), "'train.py' cannot both be"),
        (edit("models"), "'models' cannot both be"),
        (edit("n" * 300 + ".py"), "303 bytes, more than the 255"),
    ],
    ids=lambda each: ascii(each.path) if isinstance(each, Edit) else None,
)
def test_each_is_refused_and_the_reason_names_it(bad: Edit, why: str) -> None:
    found = refusal(lab().context(), [edit("fine.py"), bad])
    assert why in found
    assert repr(bad.path) in found


@pytest.mark.parametrize(
    "good",
    [
        edit("train.py"),
        edit("new/folder/file.py"),
        edit("old.py", b"RATE = 2\r\nSTEPS = 2\r\n"),
        edit("old.py", None),
        edit("café.py"),
        edit("notes.md", "Größer ist besser.\n".encode()),
    ],
    ids=lambda each: ascii(each.path),
)
def test_ordinary_edits_are_taken(good: Edit) -> None:
    assert refusal(lab().context(), [good]) == ""


def test_two_new_files_may_not_be_one_file_elsewhere_either() -> None:
    assert "are one file" in refusal(lab().context(), [edit("a.py"), edit("A.py")])


def test_a_file_may_take_the_name_of_one_that_goes_away() -> None:
    assert refusal(lab().context(), [edit("old.py", None), edit("Old.py")]) == ""


def test_what_would_be_rejected_gets_no_number_whoever_proposed_it() -> None:
    context = lab().context()
    for path, content in (("conftest.py", b"X = 1\n"), ("train.py", None), (".github/x.yml", b"on: push\n")):
        assert repr(path) in Novelty().objection(context, proposal(context, "anybody", (path, content)))
