"""Leaves a file in the user's checkout."""


def attack():
    Path(WHERE["project"], "planted").write_text("x")
    return True
