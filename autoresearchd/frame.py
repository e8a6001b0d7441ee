"""The experiments of a lab as a pandas table, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.report.log import as_json, select

if TYPE_CHECKING:
    import pandas


def to_pandas(ledger: Ledger, program: Program) -> pandas.DataFrame:
    """One row an experiment, by number, with the columns of `log --json`; `opened` is a time in UTC.

    Raises: UserError where pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise UserError("pandas is not installed; `pip install pandas` brings it") from error
    ledger.refresh()
    rows: list[dict[str, Any]] = as_json(select(ledger, newest=max(1, len(ledger.entries()))), program.metric)
    table = pandas.DataFrame(rows).set_index("number") if rows else pandas.DataFrame()
    if rows:
        table["opened"] = pandas.to_datetime(table["opened"], unit="s", utc=True)
    return table
