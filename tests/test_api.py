"""What other programs may rely on: the Python API, and the JSON of the commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import autoresearchd
from autoresearchd import Ledger, load, to_pandas
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.report import shapes
from tests.acceptance.daemon import command, foreign_lab, patch_of
from tests.report.nouns import EVIL


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short real night: a crash, a hostile title, some numbers."""
    folder = foreign_lab(tmp_path_factory.mktemp("api") / "project")
    lab = Ledger(folder / "experiments.git")
    lab.submit_patch(patch_of(folder, "DEPTH = 8", "DEPTH = broken").encode(), title="Break it")
    lab.submit_patch(patch_of(folder, "DEPTH = 8", "DEPTH = 9").encode(), title=EVIL)
    command(folder, "run", "--experiments", "3")
    return folder


def test_a_lab_reads_as_frozen_values(night: Path) -> None:
    lab = Ledger(str(night / "experiments.git"))
    rows = list(lab.concluded())
    assert [row.experiment.number for row in rows] == [0, 1, 2, 3]
    assert all(isinstance(row, Concluded) for row in rows)
    assert {row.verdict.outcome for row in rows} >= {Outcome.BASELINE, Outcome.CRASH}
    with pytest.raises(AttributeError):
        rows[0].verdict.metric = 0.0  # type: ignore[misc]


def test_a_lab_is_a_pandas_table_with_the_columns_of_the_json(night: Path) -> None:
    table = to_pandas(Ledger(night / "experiments.git"), load(night / "program.toml"))
    rows = json.loads(command(night, "log", "--json").stdout)
    assert ["number", *table.columns] == list(rows[0])
    assert list(table.index) == [0, 1, 2, 3]
    assert table.loc[0, "metric"] == pytest.approx(rows[0]["metric"])
    assert table["metric"].isna().sum() == 1, "the crash has no number"
    assert table["opened"].dt.tz is not None


def test_the_example_for_notebooks_runs_as_it_is_printed(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "watching.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "to_pandas" in block)
    monkeypatch.chdir(night)
    names: dict[str, Any] = {}
    exec(example, names)
    assert len(names["table"]) == 4


def test_without_pandas_the_table_is_refused_with_the_way_out(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        to_pandas(Ledger(night / "experiments.git"), load(night / "program.toml"))


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, autoresearchd; print(sorted({'pygit2', 'pydantic', 'numpy', 'pandas'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        autoresearchd.__getattr__("Nothing")


def _valid(name: str, found: Any) -> None:
    schema = shapes.schema()
    problems = list(Draft202012Validator(schema).iter_errors({name: found}))
    assert problems == [], problems[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("log",),
        ("show", "0"),
        ("show", "1"),
        ("show", "2"),
        ("status",),
        ("doctor",),
        ("fsck",),
        ("report",),
        ("ablate", "--list"),
    ],
)
def test_what_the_commands_print_is_what_the_schema_says(night: Path, arguments: tuple[str, ...]) -> None:
    _valid(arguments[0], json.loads(command(night, *arguments, "--json").stdout))


def test_the_status_of_a_lab_without_a_daemon_is_what_the_schema_says(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    found = json.loads(command(folder, "status", "--json").stdout)
    _valid("status", found)
    assert found["running"] is False


def test_an_open_experiment_is_what_the_schema_says(night: Path) -> None:
    from autoresearchd.report.log import row_as_json

    program = load(night / "program.toml")
    opened = next(iter(Ledger(night / "experiments.git").concluded())).experiment
    _valid("log", [row_as_json(opened, program.metric)])


def test_a_field_that_nobody_documented_is_found(night: Path) -> None:
    rows = json.loads(command(night, "log", "--json").stdout)
    with pytest.raises(AssertionError):
        _valid("log", [{**rows[0], "news": 1}])


def test_the_schema_is_printed_by_the_command_and_is_one() -> None:
    printed = json.loads(command(Path(), "schema").stdout)
    Draft202012Validator.check_schema(printed)
    assert set(printed["properties"]) == {"log", "show", "doctor", "fsck", "status", "report", "ablate"}
