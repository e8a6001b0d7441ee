# json/__init__.py
print("EVIL")
dumps = repr
