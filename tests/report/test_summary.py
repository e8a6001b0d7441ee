"""What a session leaves behind in words."""

from __future__ import annotations

from autoresearchd.experiment import CommitOid, Direction, Ending, Outcome
from autoresearchd.report.summary import sentence, text
from tests.report.lab import Lab
from tests.report.nouns import EVIL, concluded, status
from tests.support.projects import git

BASELINE = concluded(0, Outcome.BASELINE, 1.5)


def _said(*rows: object, direction: Direction = Direction.LOWER) -> str:
    return sentence(rows, metric="val_bpb", direction=direction)  # type: ignore[arg-type]


def test_a_good_night_is_one_sentence() -> None:
    first = concluded(1, Outcome.KEEP, 1.4, 1.5, std_error=0.01, title="Softcap 15")
    onto = first.experiment.commit
    second = concluded(4, Outcome.KEEP, 1.35, 1.4, std_error=0.01, title="Longer warm-down", parent=onto)
    said = _said(BASELINE, first, concluded(2, Outcome.CRASH), concluded(3, Outcome.DISCARD, 1.6, 1.4), second)
    assert said == (
        "Of 4 changes tried 2 were kept, which took val_bpb from 1.50000 to 1.35000 (10.00% better); "
        "the best single change was 0001, “Softcap 15” (+0.100 ± 0.010); 1 failed."
    )


def test_where_higher_is_better_the_best_change_is_the_one_that_rose_most() -> None:
    base = concluded(0, Outcome.BASELINE, 0.5)
    little, much = concluded(1, Outcome.KEEP, 0.6, 0.5, title="a"), concluded(2, Outcome.KEEP, 0.9, 0.6, title="b")
    said = _said(base, little, much, direction=Direction.HIGHER)
    assert "from 0.500000 to 0.900000 (80.00% better)" in said
    assert "the best single change was 0002" in said


def test_best_is_the_end_of_the_line_and_not_the_highest_number() -> None:
    late = concluded(1, Outcome.KEEP, 1.2, 1.3, title="Late", parent=CommitOid(f"{2:040x}"))
    early = concluded(2, Outcome.KEEP, 1.3, 1.5, title="Early", parent=BASELINE.experiment.commit)
    assert "from 1.50000 to 1.20000" in _said(BASELINE, late, early)


def test_a_night_without_a_keep_claims_nothing() -> None:
    said = _said(BASELINE, concluded(1, Outcome.DISCARD, 1.6, 1.5))
    assert said == "Of 1 change tried none was a proven improvement on the baseline (val_bpb 1.50000)."


def test_nothing_tried_and_nothing_measured_are_said_plainly() -> None:
    assert _said() == "Nothing was measured yet, not even the baseline."
    assert _said(BASELINE) == "The baseline was measured (val_bpb 1.50000); no change was tried yet."


def test_a_project_that_does_not_train_is_said_with_its_error(lab: Lab) -> None:
    assert "does not train" not in text(lab.ledger, status())
    lab.measure(lab.ledger.best().tree, None, ending=Ending.CRASH, why="KeyError: 'rate'")
    said = text(lab.ledger, status()).splitlines()[-1]
    assert said.startswith("The project's own code does not train: KeyError: 'rate'; `autoresearchd show 0`")


def test_the_kept_line_is_gits_own(lab: Lab) -> None:
    lab.baseline(1.5)
    kept = lab.open("Raise the rate", "RATE = 0.2\n")
    lab.conclude(kept, Outcome.KEEP, 1.4, baseline=1.5, std_error=0.01)
    lab.conclude(lab.open("Lower it", "RATE = 0.05\n"), Outcome.DISCARD, 1.6, baseline=1.4)
    said = text(lab.ledger, status()).splitlines()
    commits = git(lab.path, "log", "-n", "2", "--format=%H", "best").split()
    assert [commit[:9] for commit in commits] == [line.split()[0] for line in said[:2]]
    assert "val_bpb=1.40000  Raise the rate" in said[0]
    assert said[-1].startswith("Of 2 changes tried 1 was kept")


def test_no_title_steers_the_terminal() -> None:
    said = _said(BASELINE, concluded(1, Outcome.KEEP, 1.4, 1.5, title=EVIL))
    assert "owned" in said
    assert said.isprintable()
