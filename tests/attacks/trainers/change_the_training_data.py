"""Spoils the data for those who come later."""


def attack():
    with Path(WHERE["train"], "tokens").open("a") as file:
        file.write("x")
    return True
