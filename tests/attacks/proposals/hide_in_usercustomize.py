# usercustomize.py
print("EVIL")
