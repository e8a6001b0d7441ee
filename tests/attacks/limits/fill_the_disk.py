"""Writes one large file."""

with open(OUT / "big", "wb") as file:
    for _ in range(64):
        file.write(bytes(2**20))
say(loss=1.0, got=1.0)
