# lab/__pycache__/data.{tag}.pyc
print("EVIL")
VALUE = 0
