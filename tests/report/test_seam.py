"""A rebase is a seam in the line of best: every view goes on making sense across it."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.experiment import CommitOid, Concluded, Direction, Outcome, Rebased
from autoresearchd.report.facts import Facts, Source, facts
from autoresearchd.report.morning import chart
from autoresearchd.report.summary import on_best, sentence
from tests.report.nouns import concluded
from tests.report.test_facts import LOSS, commit, kept


def seam(number: int, metric: float, project: float, carried: tuple[int, ...]) -> Concluded:
    """The baseline of a rebase onto a project that has `project` by itself."""
    made = concluded(number, Outcome.BASELINE, metric, project, std_error=0.01, parent=CommitOid("c" * 40))
    rebased = Rebased(old=commit(number - 1), onto=CommitOid("d" * 40), carried=carried)
    return replace(made, experiment=replace(made.experiment, rebased=rebased))


NIGHT = [
    concluded(0, Outcome.BASELINE, 2.0),
    kept(1, 0, 1.8, 2.0, title="Stays"),
    kept(2, 1, 1.7, 1.8, title="Conflicts"),
    seam(3, 1.5, 1.6, (1,)),
    concluded(4, Outcome.DISCARD, 1.55, 1.5, parent=commit(3)),
    kept(5, 3, 1.4, 1.5, title="Is new"),
]


def told() -> Facts:
    return facts(Source(now=1.0, program=LOSS, concluded=NIGHT))


def test_the_staircase_goes_through_both_lines_and_marks_where_the_new_one_begins() -> None:
    found = told()
    assert [(step.number, step.metric) for step in found.steps] == [(0, 2.0), (1, 1.8), (2, 1.7), (3, 1.5), (5, 1.4)]
    assert [step.number for step in found.steps if step.is_seam] == [3]
    drawn = chart.staircase(found)
    assert drawn is not None
    assert drawn.seams.count("M") == 1


def test_the_line_is_the_new_one_and_what_was_carried_over_is_named_apart() -> None:
    found = told()
    assert [row.number for row in found.line] == [3, 5]
    assert [row.number for row in found.carried] == [1]
    assert found.baseline is not None
    assert found.baseline.start == 1.6
    assert found.tried == 4


def test_best_is_made_of_what_was_carried_over_and_what_was_kept_since() -> None:
    assert [row.experiment.number for row in on_best(NIGHT)] == [1, 5]


def test_the_sentence_starts_from_the_project_as_it_is_now() -> None:
    said = sentence(NIGHT, metric="loss", direction=Direction.LOWER)
    assert said.startswith("Of 4 changes tried 2 were kept, which took loss from 1.60000 to 1.40000")


def test_a_line_is_not_taken_for_the_go_on_of_one_that_the_project_has_merged() -> None:
    """The user's new commit is the old best itself: the new baseline lies on a commit of the old line."""
    merged = replace(NIGHT[3], experiment=replace(NIGHT[3].experiment, parent=commit(2)))
    found = facts(Source(now=1.0, program=LOSS, concluded=[*NIGHT[:3], merged, *NIGHT[4:]]))
    assert [row.number for row in found.line] == [3, 5]


def test_only_a_baseline_that_this_program_made_is_one() -> None:
    """The category is a proposer's word."""
    claimed = replace(NIGHT[4].experiment, category="baseline")
    assert not claimed.is_baseline
    assert NIGHT[3].experiment.is_baseline
