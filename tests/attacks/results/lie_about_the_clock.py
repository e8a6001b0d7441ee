"""Says that it has trained for ever."""

say(loss=1.0, train_seconds=1e9)
