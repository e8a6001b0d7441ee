"""Talks to a daemon such as docker's."""


def attack():
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(WHERE["socket"])
    return True
