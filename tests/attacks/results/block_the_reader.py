"""Leaves a FIFO, on which a reader would wait for ever."""

os.mkfifo(OUT / "result.json")
