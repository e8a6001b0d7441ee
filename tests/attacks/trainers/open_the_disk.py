"""Makes a node for the disk."""


def attack():
    os.mknod("/dev/shm/" + WHERE["name"], 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    return True
