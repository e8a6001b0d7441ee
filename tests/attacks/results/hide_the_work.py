"""Takes more steps than it was given, in a process that has left its group, and says that it took no time."""

import subprocess

burn = "import time\nwhile time.process_time() < 0.5: pass"
subprocess.run([sys.executable, "-S", "-c", burn], start_new_session=True, env={})
say(loss=1.0, steps=1, cpu_seconds=0.0)
