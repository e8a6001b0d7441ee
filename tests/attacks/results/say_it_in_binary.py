"""Bytes that are no text."""

(OUT / "result.json").write_bytes(bytes(range(256)) * 10)
