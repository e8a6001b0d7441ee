"""Nests until the reader's stack ends."""

(OUT / "result.json").write_text("[" * 200_000)
