"""Takes all rights from a file of the user's."""


def attack():
    path = Path(WHERE["project"], "notes.txt")
    path.chmod(0o640)
    return path.stat().st_mode & 0o777 == 0o640
