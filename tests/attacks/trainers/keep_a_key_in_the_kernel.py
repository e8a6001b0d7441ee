"""Leaves a note in a keyring that outlives it."""


def attack():
    return call(248, b"user", b"attack", b"x", 1, -3) > 0
