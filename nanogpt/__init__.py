"""A small modern GPT that is worth improving: the reference target. Knows torch, numpy and itself, and nothing else."""

import os

# Read when torch is imported: threads that wait for each other sleep instead of spinning. Alone on the machine a step
# takes a fifth longer, with one core busy elsewhere it is twenty times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
