"""What the documents say of commands, keys, modules and tests: it is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
import typer

from autoresearchd.cli import app
from autoresearchd.cli.keys import reference
from autoresearchd.program import Program

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SMALLEST = """
[program]
name = "x"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_loss"
"""


def _blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_of_keys_is_that_of_todays_tables() -> None:
    assert (ROOT / "docs" / "program.md").read_text("utf-8") == reference(), "`make man` writes the page anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_leads_nowhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_program_that_is_shown_is_one_that_the_daemon_takes(page: Path) -> None:
    for block in _blocks(page, "toml"):
        Program.model_validate(_laid(tomli.loads(SMALLEST), tomli.loads(block)))


def _laid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: _laid(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(below[key], dict)}
    return {**below, **above, **both}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_has_its_options(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for words in _commands(page):
        command, rest = group, words
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options, words


def test_every_command_is_in_the_page_of_commands() -> None:
    group: Any = typer.main.get_command(app)
    words = set(
        re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", (ROOT / "docs" / "commands.md").read_text("utf-8"))))
    )
    assert sorted(group.commands.keys() - words) == []


def _commands(page: Path) -> Iterator[list[str]]:
    """Command lines of `autoresearchd` in the text and in consoles, without what a shell makes of them."""
    text = re.sub(r"^```(?!console).*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in re.findall(r"(?:`|\$ |&& )autoresearchd ([a-z][^`\n&]*)", text):
        yield shlex.split(line, comments=True)


def test_every_module_has_its_place_in_the_architecture() -> None:
    quoted = re.findall(r"`([^`\n]+)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    words = {word for words in quoted for word in re.findall(r"\w+", words)}
    modules = (path.relative_to(ROOT / "autoresearchd") for path in (ROOT / "autoresearchd").rglob("*.py"))
    # Whoever adds a module gives it a line there.
    nameless = [str(path) for path in modules if path.stem not in words and not path.stem.startswith("__")]
    assert [path for path in nameless if not path.startswith("propose/catalogue/")] == []


def test_every_test_and_file_that_is_named_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:tests|docs|bench|systemd|nanogpt)/[\w@./-]*)`", page.read_text("utf-8")):
            assert (ROOT / name).exists(), (page.name, name)


def test_every_trailer_is_named_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    keys = re.findall(r'yield "([A-Z][\w-]*)"', (ROOT / "autoresearchd" / "trailers.py").read_text("utf-8"))
    assert keys
    assert [key for key in keys if f"`{key}`" not in text] == []
