"""`null`: now and then, a change of nothing that runs: how often does noise look like a gain on the user's own target?

Whatever the judge makes of it, it is never kept; the plan sees to that.
"""

from __future__ import annotations

from autoresearchd.experiment import NULL, Experiment
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._misses import since_last
from autoresearchd.propose._protocol import Context


class Null:
    """Proposes a comment when it is due: one in every `propose.null.every` experiments."""

    name = "null"

    async def propose(self, context: Context) -> Proposal | None:
        """A comment at the end of the first Python file; None while it is not due, or where there is no such file."""
        path = next((path for path in sorted(context.files) if path.endswith(".py")), None)
        every = context.program.propose.null.every
        if path is None or not every or since_last(context, _is_null) < every - 1:
            return None
        # Of all that was proposed and is not dropped: nobody has to go through the history for it. Should one come
        # twice, it is refused like anything that waits already.
        number = len(context.history.concluded()) + len(context.pending)
        text = context.files[path]
        line = f"# Null experiment {number}: nothing that runs is different.\n".encode()
        return Proposal(
            parent=context.best,
            edits=(Edit(path=path, content=text + (b"" if text.endswith(b"\n") or not text else b"\n") + line),),
            title=f"Change nothing that runs ({number})",
            rationale="A test of the judge: this cannot be better, so keeping it would be mistaking noise for a gain.",
            category=NULL,
            proposer=self.name,
        )


def _is_null(each: Proposal | Experiment) -> bool:
    return each.category == NULL
