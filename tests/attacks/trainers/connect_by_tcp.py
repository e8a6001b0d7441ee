"""Sends what it found somewhere."""


def attack():
    socket.create_connection(("127.0.0.1", WHERE["port"]), 5).sendall(b"x")
    return True
