"""The catalogue and the user's own edits, as proposals."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter

import pytest
from structlog.testing import capture_logs

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose import catalogue
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.catalogue import Pattern
from autoresearchd.propose.patterns import LONG_AGO, Patterns
from tests.propose.fakes import FakeLab, apply
from tests.propose.samples import MODEL, TRAIN

FILES = {"model.py": MODEL, "train.py": TRAIN, "notes.md": "F.relu(x).square()\n"}
CUSTOM = """
[[propose.patterns.custom]]
name = "Halve the batch"
path = "train.py"
find = "lr=0.02"
replace = "lr=0.04"

[[propose.patterns.custom]]
name = "Print a line"
category = "print"
find = "model = build()\\n"
inject_after = "print(model)\\n"

[[propose.patterns.custom]]
name = "Ambiguous"
find = "x = "
replace = "y = "
"""


def ask(context: Context, patterns: Patterns | None = None) -> Proposal | None:
    return asyncio.run((patterns or Patterns()).propose(context))


def ask_all(lab: FakeLab, most: int = 200) -> list[Proposal]:
    """Everything it has for this best, each waiting while the next is asked for."""
    patterns, waiting = Patterns(), list[Proposal]()
    while len(waiting) < most and (proposal := ask(lab.context(pending=waiting), patterns)) is not None:
        waiting.append(proposal)
    return waiting


def test_a_proposal_is_the_full_new_file_on_best() -> None:
    lab = FakeLab(FILES)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.parent == lab.best
    assert proposal.proposer == "patterns"
    (edit,) = proposal.edits
    assert edit.content is not None
    compile(edit.content, edit.path, "exec")
    assert edit.content != lab.files[edit.path]
    assert proposal.title.endswith(f" in {edit.path}")
    assert len(proposal.title) <= 60
    assert proposal.rationale


def test_no_tree_is_proposed_twice_and_all_are_in_the_end() -> None:
    lab = FakeLab(FILES)
    proposals = ask_all(lab)
    trees = [tuple(sorted(apply(lab.files, each.edits).items())) for each in proposals]
    assert len(set(trees)) == len(trees) >= 40
    assert {edit.path for each in proposals for edit in each.edits} == {"model.py", "train.py"}


def test_what_was_tried_on_this_best_is_not_tried_again() -> None:
    lab = FakeLab(FILES)
    titles = []
    for _ in range(12):
        proposal = ask(lab.context())
        assert proposal is not None
        titles.append(proposal.title)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.2)
    assert len(set(titles)) == 12


def one_pattern(lab: FakeLab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "PATTERNS", tuple(each for each in catalogue.PATTERNS if each.name == name))


@pytest.mark.parametrize(("value", "again"), [(0.95, True), (1.5, False)])
def test_only_a_near_miss_of_long_ago_comes_again(value: float, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = FakeLab(FILES)
    one_pattern(lab, "relu2-to-gelu", monkeypatch)
    first = ask(lab.context())
    assert first is not None
    lab.try_proposal(first, Outcome.INCONCLUSIVE, value, std_error=0.01)
    for step in range(LONG_AGO):
        assert ask(lab.context()) is None
        lab.try_files({**lab.files, "notes.md": f"{step}\n"}, Outcome.KEEP, 0.9 - step / 100)
    assert (ask(lab.context()) is not None) == again


def test_the_way_back_to_a_former_best_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = FakeLab({"model.py": MODEL})
    lab.try_files(
        {"model.py": MODEL.replace("F.relu(x).square()\n        x", "F.gelu(x)\n        x")}, Outcome.KEEP, 0.9
    )
    one_pattern(lab, "gelu-to-relu2", monkeypatch)
    assert ask(lab.context()) is None
    one_pattern(lab, "relu2-to-gelu", monkeypatch)
    assert ask(lab.context()) is None


def test_what_is_waiting_is_not_proposed_whoever_proposed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = FakeLab({"model.py": MODEL})
    one_pattern(lab, "relu2-to-gelu", monkeypatch)
    wanted = ask(lab.context())
    assert wanted is not None
    files = apply(lab.files, wanted.edits)
    running = lab.experiment(files, title="The same by hand")
    lab.history.trees[running.tree] = files
    assert ask(lab.context(pending=[running])) is None


def test_names_in_skip_are_skipped() -> None:
    toml = '[propose.patterns]\nskip = ["weight-averaging", "Print a line"]\n'
    titles = {each.title for each in ask_all(FakeLab(FILES, toml=toml + CUSTOM))}
    assert "Halve the batch in train.py" in titles
    assert not [title for title in titles if title.startswith(("Average", "Print"))]


def test_files_that_may_not_be_edited_are_left_alone() -> None:
    lab = FakeLab(FILES)
    subject = lab.program.program.model_copy(update={"protected": ("train.py",)})
    lab.program = lab.program.model_copy(update={"program": subject})
    assert {edit.path for each in ask_all(lab) for edit in each.edits} == {"model.py"}


def test_what_the_user_asked_for_comes_first_and_exactly() -> None:
    lab = FakeLab(FILES, toml=CUSTOM)
    halve, line = sorted(ask_all(lab, most=2), key=lambda each: each.title)
    assert (halve.title, halve.category) == ("Halve the batch in train.py", "custom")
    assert halve.edits[0].content == TRAIN.replace("lr=0.02", "lr=0.04").encode()
    assert (line.title, line.category) == ("Print a line in train.py", "print")
    assert line.edits[0].content == TRAIN.replace("model = build()\n", "model = build()\nprint(model)\n").encode()


def test_text_that_occurs_twice_is_no_place_for_an_edit() -> None:
    assert not [each for each in ask_all(FakeLab(FILES, toml=CUSTOM)) if each.title.startswith("Ambiguous")]


def test_an_edit_of_the_users_that_does_not_compile_is_never_proposed() -> None:
    toml = '[[propose.patterns.custom]]\nname = "Break"\nfind = "def norm(x):"\nreplace = "def norm(x)"\n'
    with capture_logs() as logs:
        proposals = ask_all(FakeLab(FILES, toml=toml))
    assert [each["pattern"] for each in logs] == ["Break"]
    assert not [each for each in proposals if each.title.startswith("Break")]


def test_a_transform_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(module: object) -> None:
        raise RecursionError("too deep")

    bad = Pattern(name="bad", title="Stumble", rationale="It falls.", category="activation", apply=stumble)  # type: ignore[arg-type]
    good = next(each for each in catalogue.PATTERNS if each.name == "relu2-to-gelu")
    monkeypatch.setattr(catalogue, "PATTERNS", (bad, good))
    with capture_logs() as logs:
        proposals = ask_all(FakeLab({"model.py": MODEL}))
    assert [each["pattern"] for each in logs] == ["bad"]
    assert [each.title for each in proposals] == ["Swap ReLU² for GELU in model.py"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"def f(:\n", id="wrong"),
        pytest.param(b"\xff\xfe\x00", id="binary"),
        pytest.param(b"", id="empty"),
        pytest.param("x = '\udcff'".encode("utf-8", "surrogatepass"), id="half a character"),
        pytest.param(b"# coding: nonsense\n", id="unknown encoding"),
        pytest.param(b"x = " + b"(" * 5_000 + b"1" + b")" * 5_000, id="parentheses that end a parser in C"),
        pytest.param(b"x = " + b"-" * 50_000 + b"1", id="signs that end a parser in C"),
        pytest.param(MODEL.encode() + b"x = " + b"not " * 900 + b"1", id="nested beyond use"),
    ],
)
def test_a_file_that_is_no_python_is_left_alone(content: bytes) -> None:
    lab = FakeLab({"model.py": content.decode("latin-1")})
    lab.files = {"model.py": content}
    with capture_logs() as logs:
        assert ask(lab.context()) is None
    assert not [each for each in logs if each["event"] == "pattern_failed"]


def test_files_of_one_name_are_told_apart_in_the_title() -> None:
    lab = FakeLab({"old/model.py": MODEL, "new/model.py": MODEL + "\n"})
    titles = Counter(each.title for each in ask_all(lab))
    assert titles["Swap ReLU² for GELU in old/model.py"] == titles["Swap ReLU² for GELU in new/model.py"] == 1


def test_a_kind_that_pays_is_asked_for_first() -> None:
    """Ten keeps of activations against ten misses of every other kind: most first proposals are activations."""
    lab = FakeLab(FILES)
    for step in range(10):
        for category in {pattern.category for pattern in catalogue.PATTERNS}:
            outcome = Outcome.KEEP if category == "activation" else Outcome.DISCARD
            lab.try_files({**lab.files, "notes.md": f"{step} {category}\n"}, outcome, 1.0, category=category)
    patterns = Patterns()
    first = Counter(proposal.category for seed in range(20) if (proposal := ask(lab.context(seed=seed), patterns)))
    assert first["activation"] >= 15


def test_the_same_lab_gives_the_same_proposal() -> None:
    lab = FakeLab(FILES)
    assert ask(lab.context()) == ask(lab.context())


def test_libcst_is_imported_with_the_first_proposal_only() -> None:
    code = (
        "import sys, autoresearchd.propose.portfolio; from autoresearchd.propose.patterns import Patterns; "
        "Patterns(); sys.exit('libcst' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    assert done.returncode == 0
