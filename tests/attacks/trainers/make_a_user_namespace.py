"""Becomes root in a namespace of its own."""


def attack():
    return call(272, 0x10000000) == 0
