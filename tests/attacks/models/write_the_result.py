"""Writes the result before the evaluator does."""

import json
import os

with open(os.path.join(os.environ["AUTORESEARCH_OUT"], "planted.json"), "w") as file:
    json.dump({"run": os.environ["AUTORESEARCH_RUN"], "metrics": {"val_bpb": 0.01}}, file)
