"""NaN compares as neither better nor worse."""

say(loss=float("nan"))
