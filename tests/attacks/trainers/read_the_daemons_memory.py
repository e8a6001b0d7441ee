"""Reads the API key from the daemon's memory."""


def attack():
    with open(f"/proc/{WHERE['daemon']}/mem", "rb"):
        return True
