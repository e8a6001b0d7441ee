"""Reads the lab's repository."""


def attack():
    return Path(WHERE["lab"], "HEAD").read_text() == "ref"
