"""The power is cut at any write of a ref: begun again, the lab is what it would have been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd.ledger import Ledger
from tests.ledger.cut import Instant, cut_off
from tests.ledger.lab import fsck, git, new_ledger, opened
from tests.ledger.labours import LABOURS

CUTS = [(what, write) for what, labour in LABOURS.items() for write in range(1, labour.writes + 1)]
Prepared = Callable[[str, Path], Ledger]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Copies of labs, each prepared once: where nothing differs, neither do the names of commits."""
    made: dict[str, Path] = {}

    def copy(what: str, folder: Path) -> Ledger:
        if what not in made:
            made[what] = tmp_path_factory.mktemp("prepared")
            LABOURS[what].prepare(new_ledger(made[what]))
        shutil.copytree(made[what], folder, dirs_exist_ok=True)
        return Ledger(folder / "experiments.git")

    return copy


def refs_of(ledger: Ledger) -> str:
    """Of the whole lab, once the next experiment is open: that brings the newest number up to date."""
    opened(ledger, "AFTERWARDS = 1\n", title="Go on")
    return git(ledger.path, "for-each-ref")


@pytest.fixture(scope="module")
def undisturbed(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The refs of a lab in which nobody was killed."""
    found: dict[str, str] = {}

    def ask(what: str) -> str:
        if what not in found:
            ledger = prepared(what, tmp_path_factory.mktemp("undisturbed"))
            with ledger.hold():
                LABOURS[what].do(ledger)
                found[what] = refs_of(ledger)
        return found[what]

    return ask


@pytest.mark.usefixtures("_restarts_at_once")
@pytest.mark.parametrize("instant", Instant)
@pytest.mark.parametrize(("what", "write"), CUTS)
def test_killed_at_any_write_and_begun_again_it_is_the_lab_that_it_would_have_been(
    tmp_path: Path, prepared: Prepared, undisturbed: Callable[[str], str], what: str, write: int, instant: Instant
) -> None:
    path = prepared(what, tmp_path).path
    assert cut_off(path, LABOURS[what].do, write, instant)
    assert bool(list(path.rglob("*.lock"))) == (instant is Instant.INSIDE)
    ledger = Ledger(path)
    with ledger.hold():
        LABOURS[what].do(ledger)
        assert ledger.verify() == ()
        assert refs_of(ledger) == undisturbed(what)
    assert fsck(path) == ""


@pytest.mark.parametrize("what", LABOURS)
def test_there_is_no_later_write_at_which_nobody_was_killed(tmp_path: Path, prepared: Prepared, what: str) -> None:
    labour = LABOURS[what]
    assert not cut_off(prepared(what, tmp_path).path, labour.do, labour.writes + 1, Instant.INSIDE)
