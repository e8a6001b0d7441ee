"""Stops itself, to hold the device."""

import signal

os.kill(os.getpid(), signal.SIGSTOP)
say(loss=1.0, got=1.0)
