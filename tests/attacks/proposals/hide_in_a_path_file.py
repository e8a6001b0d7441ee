# vendor/evil.pth
print("EVIL")
