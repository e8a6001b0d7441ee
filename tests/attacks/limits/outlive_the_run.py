"""Leaves a process that has left its group, and has no mark."""

import subprocess

code = "import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", code, WHERE["name"]], start_new_session=True, env={}, close_fds=True)
say(loss=1.0, got=1.0)
