"""Talks to a session bus."""


def attack():
    with socket.socket(socket.AF_UNIX) as there:
        there.connect("\0" + WHERE["abstract"])
    return True
