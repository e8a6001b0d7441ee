"""Takes memory until somebody dies."""

kept = [b"x" * 2**20 for _ in range(600)]
say(loss=1.0, got=float(len(kept) >= 600))
