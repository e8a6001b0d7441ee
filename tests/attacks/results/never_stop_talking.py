"""More lines than a disk holds, were they kept."""

for _ in range(400):
    sys.stdout.write("x" * 99 + "\n" + ("y" * 99 + "\n") * 1600)
say(loss=1.0)
