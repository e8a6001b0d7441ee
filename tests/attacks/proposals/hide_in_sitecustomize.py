# sitecustomize.py
print("EVIL")
