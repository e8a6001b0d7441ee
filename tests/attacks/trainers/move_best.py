"""Moves the branch that holds the record."""


def attack():
    Path(WHERE["lab"], "refs", "heads", "best").write_text("0" * 40)
    return True
