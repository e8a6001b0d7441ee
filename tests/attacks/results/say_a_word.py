"""Not a number at all."""

say(loss="0.1")
