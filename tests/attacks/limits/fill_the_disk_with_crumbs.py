"""Writes many small files."""

import time

for number in range(64):
    (OUT / str(number)).write_bytes(bytes(2**20))
time.sleep(3 if "SLOW" in WHERE else 0)
say(loss=1.0, got=1.0)
