"""The report of a morning: what it says, and that nobody's words get to act in it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Outcome
from autoresearchd.program import load
from autoresearchd.report.climb import Climb
from autoresearchd.report.facts import Source, facts
from autoresearchd.report.morning import pages, plot
from autoresearchd.report.morning.document import LONGEST_DIFF
from autoresearchd.report.morning.filing import read
from autoresearchd.status import RefusedIdea
from tests.report.lab import NOW, Lab
from tests.report.morning.conftest import SCRIPT
from tests.support.projects import git


class Seen(HTMLParser):
    """The tags, the attributes, the ids and the shown words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_what_was_found_what_paid_what_hurt_and_what_to_do_next(program: Path) -> None:
    said = " ".join(Seen(pages.html(read(program))).words.split())
    for words in (
        "Of 4 changes tried 1 was kept, which took val_bpb from 1.50000 to 1.40000 (6.67% better)",
        "+0.100 ± 0.010",
        "0.9950",
        "far too good",
        "Failures worth knowing",
        "Untie the embedding",
        "-0.500 ± 0.010",
        "Softcap 15 came nearest to a keep",
        "1 h 30 min of training; $0.50 for the proposals that were tried",
        "1 crash, 1 discard, 1 inconclusive, 1 keep",
    ):
        assert words in said


def test_the_scale_table_has_a_column_for_each_rung_in_every_form(program: Path) -> None:
    rungs = {"d8": f"holds: loss=1.5 (Δ -0.1 +-0.01, n=4) {SCRIPT}"}
    climbed = Climb(number=1, title=SCRIPT, gain=0.1, std_error=0.01, rungs=rungs, promoted=True)
    document = read(program)
    assert "larger scales" not in pages.html(document) + pages.markdown(document)
    told = replace(document, facts=replace(document.facts, rungs=("d8", "d12"), scales=(climbed,)))
    page, text = pages.html(told), pages.markdown(told)
    assert "<script" not in page
    assert "on d8on d12promoted" in Seen(page).words
    assert "+0.100 ± 0.010holds: loss=1.5 (Δ -0.1 ± 0.01, n=4)" in Seen(page).words
    assert "| no. | change | gain ± s.e. | on d8 | on d12 | promoted |" in text
    (row,) = [line for line in text.splitlines() if "holds: loss" in line]
    assert row.endswith("| - | yes |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 7, "no word makes a column"
    assert pages.as_json(told)["scales"][0]["rungs"] == rungs


def test_what_kept_changes_are_worth_today_is_there_once_one_was_taken_out(program: Path) -> None:
    document = read(program)
    assert "Worth today" not in pages.html(document) + pages.markdown(document)
    (known,) = document.facts.worth
    taken = replace(known, today=0.02, today_error=0.005, trial=7, is_dead_weight=True)
    told = replace(document, facts=replace(document.facts, worth=(taken,)))
    assert "+0.100 ± 0.010+0.0200 ± 0.00500007, for good" in Seen(pages.html(told)).words
    assert "| +0.100 ± 0.010 | +0.0200 ± 0.0050 | 0007, for good |" in pages.markdown(told)


def test_ideas_that_were_turned_away_are_there_with_the_reason(program: Path, night: Lab) -> None:
    assert "not tried" not in pages.html(read(program)) + pages.markdown(read(program))
    refused = RefusedIdea(ref="refs/heads/idea/x", title=SCRIPT, why=SCRIPT, at=NOW)
    night.ledger.file_refused(refused, "Paint it green.")
    document = read(program)
    page, text = pages.html(document), pages.markdown(document)
    assert "<script" not in page
    assert re.search(r"Ideas that were not tried\s*<script>.* 2023-11-1\d \d\d:\d\d: <script>", Seen(page).words)
    assert re.search(r"- \*\*\\<script.* 2023-11-1\d \d\d:\d\d: \\<script", text)
    assert pages.as_json(document)["refused"][0]["ref"] == "refs/heads/idea/x"


def test_the_page_is_one_file_that_loads_nothing_and_runs_nothing(program: Path) -> None:
    seen = Seen(pages.html(read(program)))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in {"src", "href", "action"}]
    assert "default-src 'none'" in str(seen.attributes)


def test_hostile_words_are_shown_as_words(program: Path) -> None:
    text = pages.html(read(program))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    seen = Seen(text)
    assert "<script>alert(1)</script>" in seen.words
    assert "+# <script>alert(1)</script>" in seen.words, "in the diff"


def test_markdown_shows_hostile_words_as_words_too(program: Path) -> None:
    text = pages.markdown(read(program))
    outside, fenced = [], False
    for line in text.split("\n"):
        fenced ^= line.startswith("````")
        outside += [] if fenced else [line]
    assert not re.search(r"(?<!\\)<", "\n".join(outside))
    assert "\x1b" not in text
    rows = [line for line in outside if line.startswith("| 0001 |")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [7], "a pipe in a title makes no column"


def test_every_section_table_and_picture_has_a_name(program: Path) -> None:
    text = pages.html(read(program))
    seen = Seen(text)
    ids = {value for name, value in seen.attributes if name == "id"}
    named = {value for name, value in seen.attributes if name == "aria-labelledby"}
    assert named <= ids
    assert seen.tags.count("h1") == 1
    assert '<html lang="en">' in text
    assert "prefers-color-scheme: dark" in text
    for picture in re.findall(r"<[^>]*role=\"img\"[^>]*>", text):
        assert "aria-label=" in picture
    assert all("scope=" in head for head in re.findall(r"<th[^>]*>", text.replace("<thead>", "")))


def test_the_commands_bring_the_change_home(program: Path, night: Lab) -> None:
    found = read(program)
    home = night.path.parent / "project"
    git(home, *_words(found.fetch))
    git(home, *_words(found.changes[0].command))
    assert (home / "train.py").read_text().startswith("RATE = 0.2\n")
    git(home, "reset", "-q", "--hard", "HEAD~1")
    git(home, *_words(found.pick_all))
    assert (home / "train.py").read_text().startswith("RATE = 0.2\n")


def _words(command: str) -> list[str]:
    assert command.startswith("git ")
    return command.replace("'", "").split()[1:]


def test_a_long_diff_is_cut_and_says_where_the_rest_is(program: Path, night: Lab) -> None:
    opened = night.open("Long", "".join(f"A{n} = {n}\n" for n in range(LONGEST_DIFF * 2)))
    done = night.conclude(opened, Outcome.KEEP, 1.0, baseline=1.4, std_error=0.01)
    text = pages.html(read(program))
    assert f"more lines: git show {done.experiment.commit}" in text
    assert f"A{LONGEST_DIFF * 2 - 1} =" not in text


def test_the_page_says_what_was_spent_today_only_where_a_daemon_has_said_it_today(program: Path) -> None:
    made = read(program)
    for today, said in ((0.5, "$2.00 in all, $0.50 today"), (None, "$2.00 in all")):
        spend = replace(made.facts.spend, total_usd=2.0, today_usd=today)
        text = pages.html(replace(made, facts=replace(made.facts, spend=spend)))
        assert f"{said}</dd>" in text


def test_markdown_shows_a_diff_with_all_of_its_blank_lines(program: Path, night: Lab) -> None:
    opened = night.open("Spread", "A = 1\n\n\n\nB = 2\n")
    night.conclude(opened, Outcome.KEEP, 1.0, baseline=1.4, std_error=0.01)
    further = night.open("Further", "A = 1\n\n\n\nB = 3\n")
    night.conclude(further, Outcome.KEEP, 0.9, baseline=1.0, std_error=0.01)
    found, text = read(program), pages.markdown(read(program))
    assert "\n\n\n\n-B = 2\n+B = 3\n" in text, "context"
    assert len(found.changes) == 3
    for change in found.changes:
        assert "diff\n" + "\n".join(change.diff) + "\n```" in text


def test_a_lab_without_a_number_has_a_report(program: Path) -> None:
    from autoresearchd.report.morning.document import Document

    empty = facts(Source(now=0.0, program=load(program), concluded=[]))
    document = Document(facts=empty, fetch="git fetch", pick_all="", changes=())
    assert "Nothing was measured yet" in pages.html(document)
    assert "Nothing was measured yet" in pages.markdown(document)


def test_the_same_is_there_as_json(program: Path) -> None:
    found = json.loads(json.dumps(pages.as_json(read(program)), allow_nan=False))
    assert [row["verdict"] for row in found["rows"]] == [
        "baseline", "keep", "discard", "inconclusive", "crash", "open"
    ]  # fmt: skip
    assert found["changes"][0]["row"]["number"] == 1


def test_the_plot_is_a_picture_of_every_try(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    found = read(program).facts
    plot.write(found, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    plot.write(found, tmp_path / "p.svg")
    assert ElementTree.parse(tmp_path / "p.svg").getroot().tag.endswith("svg")


def test_a_plot_in_an_unknown_format_is_refused_with_the_known_ones(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png, \.svg, \.pdf"):
        plot.write(read(program).facts, tmp_path / "p.gif")
