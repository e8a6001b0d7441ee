"""Reads the API key from the daemon's environment."""


def attack():
    return b"PATH=" in Path(f"/proc/{WHERE['daemon']}/environ").read_bytes()
