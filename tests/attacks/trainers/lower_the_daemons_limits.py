"""Takes the daemon's descriptors away."""


def attack():
    resource.prlimit(WHERE["daemon"], resource.RLIMIT_CORE, (0, 0))
    return "python" in Path(f"/proc/{WHERE['daemon']}/comm").read_text()
