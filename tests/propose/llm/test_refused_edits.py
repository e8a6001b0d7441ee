"""An edit that would never be trained is refused in the conversation, with the reason, and the model can mend it."""

from __future__ import annotations

import pytest

from tests.propose.fakes import apply
from tests.propose.llm.room import CALL, FILES, ask, lab
from tests.propose.llm.test_conversation import results
from tests.support.messages import MessagesServer, Say, edit, proposal

GOOD = proposal(*CALL, title="Double the rate")
WHOLE = FILES["train.py"]


@pytest.mark.parametrize(
    ("path", "old", "new", "why"),
    [
        (".github/workflows/ci.yml", "", "on: push\n", "obeyed by other programs"),
        (".git/config", "", "[core]\n", "obeyed by other programs"),
        (".gitmodules", "", "[submodule]\n", "read without being asked"),
        ("conftest.py", "", "import os\n", "read without being asked"),
        ("numpy.py", "", "x = 1\n", "shadows the module numpy"),
        ("TRAIN.py", "", "x = 1\n", "are one file"),
        ("weights.txt", "", "\0\0", "binary"),
        ("train.py", CALL[0], "MATRIX_LR = 0.08\r\n", "carriage returns"),
        ("train.py", WHOLE, "", "left empty"),
        ("train.py", CALL[0], "#" * 400_000, "more than 400000"),
    ],
)
def test_the_reason_goes_back_to_the_model_and_nothing_is_changed(path: str, old: str, new: str, why: str) -> None:
    with MessagesServer([Say(tools=(edit(old, new, path=path),)), GOOD]) as server:
        the_lab = lab(server)
        found, _ = ask(the_lab)
    (answer,) = results(server.requests[1])
    assert answer.startswith("not taken: ")
    assert why in answer
    assert found is not None
    assert [each.path for each in found.edits] == ["train.py"]
    assert apply(the_lab.files, found.edits)["train.py"] == WHOLE.replace(*CALL).encode()


def test_a_file_with_the_line_ends_of_windows_can_be_edited_and_keeps_them() -> None:
    files = {"train.py": WHOLE.replace("\n", "\r\n")}
    two_lines = "MATRIX_LR = 0.04\nWEIGHT_DECAY = 0.2", "MATRIX_LR = 0.08\nWEIGHT_DECAY = 0.2"
    with MessagesServer([proposal(*two_lines)]) as server:
        the_lab = lab(server, files=files)
        found, _ = ask(the_lab)
    assert found is not None
    assert apply(the_lab.files, found.edits)["train.py"] == files["train.py"].replace(*CALL).encode()
