# torch.py
print("EVIL")
