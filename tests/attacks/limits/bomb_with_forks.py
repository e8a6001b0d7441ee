"""Forks until nothing goes."""

import signal

children = []
try:
    while len(children) < 200:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError:
    pass
say(loss=1.0, got=float(len(children) >= 200))
