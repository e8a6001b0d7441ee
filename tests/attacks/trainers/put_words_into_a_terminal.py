"""Types into the terminal that started it."""


def attack():
    _, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSTI, b"x")
    except OSError as error:
        return error.errno != errno.EPERM
    return True
