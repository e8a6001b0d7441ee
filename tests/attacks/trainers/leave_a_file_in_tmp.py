"""Leaves a file for the next run where everybody may write."""


def attack():
    Path(WHERE["tmp"]).write_text("x")
    return True
