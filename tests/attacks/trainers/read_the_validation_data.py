"""Trains on the answers."""


def attack():
    return Path(WHERE["val"], "answers").read_text() == "42"
