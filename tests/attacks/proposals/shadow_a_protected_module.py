# lab/data/__init__.py
print("EVIL")
VALUE = 0
