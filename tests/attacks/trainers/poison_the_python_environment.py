"""Puts a module among the installed packages, where every later run, and the daemon, would import it."""

import sysconfig


def attack():
    planted = Path(sysconfig.get_path("purelib"), f"{WHERE['name'].replace('-', '_')}.py")
    try:
        planted.write_text("print('EVIL')")
        return planted.exists()
    finally:
        planted.unlink(missing_ok=True)
