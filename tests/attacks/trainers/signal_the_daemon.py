"""Stops whoever measures."""


def attack():
    os.kill(WHERE["daemon"], 0)
    return Path(f"/proc/{WHERE['daemon']}/cmdline").read_bytes().count(b"py") > 0
