"""Keeps descriptors until there are none."""

kept = []
try:
    while len(kept) < 500:
        kept.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
say(loss=1.0, got=float(len(kept) >= 500))
