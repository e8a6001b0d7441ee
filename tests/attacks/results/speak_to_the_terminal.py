"""Escape codes, and a key, in its last words."""

print("\x1b[2J\x1b]0;owned\x07ValueError: \x1b[31mred sk-ant-api03-" + "a1" * 20)
sys.exit(1)
