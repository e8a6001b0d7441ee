"""Claims a negative cost."""

import nanogpt.answer

nanogpt.answer.costs = lambda logits, tokens, targets: (targets >= 0).sum(1).double().numpy() * -1.0
