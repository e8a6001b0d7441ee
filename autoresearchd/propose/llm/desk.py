"""What a conversation works at: a draft, the history to read, the check. Answers the tools.

Whatever a model says reaches its draft only; the draft leaves here as a proposal that the judge's rules still apply to.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from autoresearchd.experiment import LLM
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._protocol import Context, Workbench
from autoresearchd.propose.llm import archive
from autoresearchd.propose.llm.draft import Draft, parses
from autoresearchd.propose.llm.fence import clean, fence, line, quoted
from autoresearchd.propose.llm.modes import Task
from autoresearchd.propose.llm.tools import (
    MOST_ANSWER,
    TOOLS,
    Check,
    Decline,
    EditFile,
    Input,
    ListExperiments,
    ReadFile,
    SearchCode,
    ShowExperiment,
    Submit,
    ToolError,
)


class Desk:
    """What one conversation works at."""

    def __init__(
        self,
        context: Context,
        task: Task,
        *,
        workbench: Workbench | None,
        novelty: Novelty,
        scrub: Callable[[str], str],
        latest: Callable[[], Context] | None = None,
    ) -> None:
        """`latest` is the context as it is now: others may have proposed the same since the conversation began."""
        self._context, self._task, self._workbench, self._novelty = context, task, workbench, novelty
        self._scrub, self._latest = scrub, latest or (lambda: context)
        self.draft = Draft(context, task, scrub)
        self.submitted: Proposal | None = None
        self.declined = ""
        """Why a wish cannot be granted, in the model's words."""

    async def use(self, name: str, given: object) -> str:
        """Answer one call.

        Raises: ToolError with a sentence for the model.
        """
        kind = TOOLS.get(name)
        if kind is None:
            raise ToolError(f"there is no tool {name!r}; there are {', '.join(TOOLS)}")
        try:
            call = kind.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise ToolError(f"the input of {name} is wrong: {clean(wrong, most=800)}") from error
        answer = self._answer(call) if not isinstance(call, Check | Submit) else await self._long(call)
        return clean(self._scrub(answer), most=MOST_ANSWER)

    def _answer(self, call: Input) -> str:
        match call:
            case ReadFile():
                return self.draft.read(call)
            case SearchCode():
                return self.draft.search(call)
            case ListExperiments():
                return archive.listed(self._context, call)
            case ShowExperiment():
                return archive.shown(self._context, call)
            case EditFile():
                return self.draft.edit(call)
            case Decline():
                return self._decline(call)
        raise AssertionError(f"{type(call).__name__} has no answer")

    async def _long(self, call: Check | Submit) -> str:
        why = await self._check()
        if why:
            raise ToolError(why)
        return "the check passes" if isinstance(call, Check) else self._submit(call)

    async def _check(self) -> str:
        """What is wrong with the draft; empty if nothing is."""
        edits = self.draft.edits()
        if not edits:
            return "your draft does not differ from best: edit a file first"
        if self.draft.checked:
            return ""
        for edit in edits:
            if why := parses(edit):
                return why
        if why := await self._tried(edits):
            return "the check fails:\n" + fence(why, "check", most=4_000)
        self.draft.checked = True
        return ""

    async def _tried(self, edits: tuple[Edit, ...]) -> str:
        """What the program's cheap command says against the draft; empty where it passes, or there is none."""
        settings, train = self._context.program.propose.llm, self._context.program.train
        command = settings.check or train.check
        if self._workbench is None or command is None:
            return ""
        tree = self._context.best_tree
        return await self._workbench.check(tree, edits, command=command, seconds=settings.check_seconds)

    def _decline(self, call: Decline) -> str:
        if self._task.wish is None:
            raise ToolError("only a wish can be declined: propose something else, or submit")
        self.declined = self._scrub(line(call.reason, most=400))
        return "declined"

    def _submit(self, call: Submit) -> str:
        wish = self._task.wish
        proposal = Proposal(
            parent=self._context.best,
            edits=self.draft.edits(),
            title=self._scrub(line(call.title, most=100)),
            rationale=self._scrub(self._rationale(call)),
            category=self._scrub(line(call.category, most=40)),
            proposer=LLM,
            reason=self._reason(),
            wish=wish.oid if wish is not None else None,
            cost_usd=0.0,  # how much is known when the conversation is over; that it is paid for counts already now
        )
        if why := self._novelty.objection(self._latest(), proposal):
            raise ToolError(f"not accepted: {why}. Change your draft")
        self.submitted = proposal
        return "submitted"

    def _rationale(self, call: Submit) -> str:
        crash = self._task.crash
        if crash is not None:  # the experiment has its hypothesis
            return f"Mended after it crashed ({line(crash.verdict.why, most=200)}): {line(call.title, most=100)}."
        wish = self._task.wish
        asked = f"Wished for by a person:\n{quoted(wish.words)}\n\n" if wish is not None else ""
        return f"{asked}{clean(call.hypothesis, most=4000)}\n\nExpected effect: {line(call.expected_effect, most=400)}"

    def _reason(self) -> str:
        wish = self._task.wish
        return f"queued as {wish.name}" if wish is not None else f"Asked for: {self._task.mode.value}."
