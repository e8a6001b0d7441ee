"""Reads a key from a home folder."""


def attack():
    return Path(WHERE["home"], ".ssh", "id").read_text() == "private"
