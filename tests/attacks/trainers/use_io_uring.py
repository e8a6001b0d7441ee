"""Opens files past the filter."""


def attack():
    return call(425, 1, ctypes.create_string_buffer(120)) >= 0
