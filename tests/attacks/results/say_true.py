"""A boolean, which Python takes for a number."""

say(loss=False)
