"""Changes the checkout that it was started from."""


def attack():
    Path("train.py").write_text("x")
    return True
