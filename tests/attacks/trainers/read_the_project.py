"""Reads what the user has not committed."""


def attack():
    return "note" in Path(WHERE["project"], "notes.txt").read_text()
