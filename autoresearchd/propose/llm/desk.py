"""What a conversation works at: a draft in memory, the code and the history to read, the check. Answers the tools.

Whatever a model says reaches its draft only; the draft leaves here as a proposal that the judge's rules still apply to.
"""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from autoresearchd.experiment import FAILED, LLM, CurvePoint, Edit, Outcome, Proposal
from autoresearchd.propose._misses import with_edits
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._protocol import Context, Workbench
from autoresearchd.propose.llm import digest
from autoresearchd.propose.llm.fence import clean, fence, line, quoted
from autoresearchd.propose.llm.modes import Task
from autoresearchd.propose.llm.tools import (
    MOST_FILE,
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

MOST_ANSWER = 24_000
"""Characters of one answer; a model that wants more asks again."""
MOST_LINES, MOST_HITS, SYMBOL_ROWS = 600, 60, 300
CURVE_POINTS = 8


@dataclass(slots=True, kw_only=True)
class Draft:
    """The editable files as the model has changed them."""

    files: dict[str, bytes]
    checked: bool = False
    """Since the last edit, with success."""


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
        self.draft = Draft(files=_start(context, task))
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

    def diff(self) -> str:
        """How the draft differs from best."""
        return digest.diff_of(self._context.files, self.draft.files)

    def _answer(self, call: Input) -> str:
        match call:
            case ReadFile():
                return self._read(call)
            case SearchCode():
                return self._search(call)
            case ListExperiments():
                return self._list(call)
            case ShowExperiment():
                return self._show(call)
            case EditFile():
                return self._edit(call)
            case Decline():
                return self._decline(call)
        raise AssertionError(f"{type(call).__name__} has no answer")

    async def _long(self, call: Check | Submit) -> str:
        why = await self._check()
        if why:
            raise ToolError(why)
        return "the check passes" if isinstance(call, Check) else self._submit(call)

    def _read(self, call: ReadFile) -> str:
        lines = self._text(call.path).splitlines()
        first = max(1, call.first_line)
        last = min(len(lines), call.last_line or len(lines), first + MOST_LINES - 1)
        body = "\n".join(f"{number:5d}  {lines[number - 1]}" for number in range(first, last + 1))
        return f"{call.path}, lines {first} to {last} of {len(lines)}\n{body}"

    def _search(self, call: SearchCode) -> str:
        hits = [
            f"{path}:{number}: {text[:200]}"
            for path in sorted(self.draft.files)
            for number, text in enumerate(self._text(path).splitlines(), start=1)
            if call.text in text
        ]
        more = f"\n({len(hits) - MOST_HITS} more)" if len(hits) > MOST_HITS else ""
        return "\n".join(hits[:MOST_HITS]) + more if hits else f"{call.text!r} does not occur"

    def _list(self, call: ListExperiments) -> str:
        history, rows, looked = self._context.history, [], 0
        for each in itertools.chain(reversed(history.concluded()), reversed(history.imported())):
            if call.category is not None and call.category.lower() not in each.experiment.category.lower():
                continue
            if call.verdict is not None and each.verdict.outcome.value != call.verdict:
                continue
            if call.symbol is not None:
                looked += 1
                if looked > SYMBOL_ROWS:
                    rows.append(f"(only the newest {SYMBOL_ROWS} were searched for {call.symbol!r})")
                    break
                if call.symbol not in digest.diff(history, each.experiment.parent_tree, each.experiment.tree):
                    continue
            rows.append(digest.one_line(self._context, each))
            if len(rows) == call.limit:
                break
        return fence("\n".join(rows), "experiments", most=MOST_ANSWER) if rows else "no such experiment"

    def _show(self, call: ShowExperiment) -> str:
        history = self._context.history
        everything = itertools.chain(history.concluded(), history.imported())
        found = next((each for each in everything if each.experiment.number == call.number), None)
        if found is None:
            raise ToolError(f"there is no experiment {call.number} with a verdict")
        own, verdict = found.experiment, found.verdict
        parts = [digest.one_line(self._context, found), fence(own.rationale, "hypothesis", most=2000)]
        if verdict.why:
            parts.append(fence(verdict.why, "reason", most=400))
        parts += [f"{name}: {value:.6g}" for name, value in sorted(verdict.metrics.items())[:24]]
        every = () if own.is_lost else history.measurements(own.tree)
        runs = [run for run in every if verdict.environment in ("", run.environment)]
        if runs and runs[-1].curve:
            parts.append(f"curve (seconds, train_loss): {_curve(runs[-1].curve)}")
        parts.append(fence(digest.diff(history, own.parent_tree, own.tree), f"diff {own.number:04d}", most=10_000))
        if verdict.outcome in FAILED or verdict.outcome is Outcome.TAMPERED:
            why, log = digest.last_run(history, own.tree)
            parts.append(fence(f"{why}\n{log[-6000:]}", f"log {own.number:04d}", most=6_400))
        return "\n".join(parts)

    def _edit(self, call: EditFile) -> str:
        if not self._context.program.may_edit(call.path):
            raise ToolError(f"{line(call.path)} may not be edited; editable are {', '.join(sorted(self.draft.files))}")
        if not call.old_text:
            if call.path in self.draft.files:
                raise ToolError(f"{call.path} is there already: give the text that is to be replaced")
            return self._put(call.path, call.new_text)
        text = self._text(call.path)
        count = text.count(call.old_text)
        if count == 0:
            raise ToolError(
                f"old_text does not occur in {call.path}; nothing was changed. {_nearest(text, call.old_text)}"
            )
        if count > 1:
            raise ToolError(
                f"old_text occurs {count} times in {call.path}; nothing was changed: give more of its lines"
            )
        return self._put(call.path, text.replace(call.old_text, call.new_text))

    def _put(self, path: str, text: str) -> str:
        try:
            content = self._scrub(text).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ToolError(f"new_text is no text that a file can hold: {error.reason}") from error
        if len(content) > MOST_FILE:
            raise ToolError(f"{path} would be larger than {MOST_FILE} bytes")
        self.draft.files[path], self.draft.checked = content, False
        return f"{path} is edited"

    async def _check(self) -> str:
        """What is wrong with the draft; empty if nothing is."""
        edits = self._edits()
        if not edits:
            return "your draft does not differ from best: edit a file first"
        if self.draft.checked:
            return ""
        for edit in edits:
            if why := _parses(edit):
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
            edits=self._edits(),
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

    def _edits(self) -> tuple[Edit, ...]:
        before, after = self._context.files, self.draft.files
        return tuple(
            Edit(path=path, content=after.get(path))
            for path in sorted(before.keys() | after.keys())
            if before.get(path) != after.get(path)
        )

    def _text(self, path: str) -> str:
        content = self.draft.files.get(path)
        if content is None:
            raise ToolError(f"there is no editable file {line(path)}; there are {', '.join(sorted(self.draft.files))}")
        return content.decode("utf-8", "surrogateescape")


def _start(context: Context, task: Task) -> dict[str, bytes]:
    """Best, or best with what is to be mended or overridden."""
    if task.suggestion is not None:
        return with_edits(context.files, task.suggestion.edits)
    if task.crash is not None:
        own = task.crash.experiment
        edits = context.history.merge(own.parent_tree, context.best_tree, own.tree)
        return with_edits(context.files, edits or ())
    return dict(context.files)


def _parses(edit: Edit) -> str:
    if not edit.path.endswith(".py") or edit.content is None:
        return ""
    try:
        ast.parse(edit.content, filename=edit.path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{edit.path} does not parse: {line(str(error), most=300)}"
    return ""


def _nearest(text: str, wanted: str) -> str:
    """The passage of as many lines that looks most like what was wanted."""
    lines, size = text.splitlines(), max(1, len(wanted.splitlines()))
    wanted_lines = wanted.splitlines() or [""]
    close = difflib.get_close_matches(wanted_lines[0], lines, n=3, cutoff=0.4)
    starts = [index for index, each in enumerate(lines) if each in close] or list(range(0, len(lines), max(1, size)))
    best, place = 0.0, 0
    for index in starts[:400]:
        passage = "\n".join(lines[index : index + size])
        ratio = difflib.SequenceMatcher(None, passage[:2000], wanted[:2000], autojunk=False).quick_ratio()
        if ratio > best:
            best, place = ratio, index
    if best < 0.4:
        return "Nothing in it is alike; read the file again."
    passage = "\n".join(lines[place : place + size])
    return f"The nearest text, from line {place + 1}:\n{clean(passage, most=2000)}"


def _curve(curve: tuple[CurvePoint, ...]) -> str:
    step = max(1, len(curve) // CURVE_POINTS)
    points = [*curve[::step][:CURVE_POINTS], curve[-1]]
    return ", ".join(f"({point.seconds:.4g}, {point.train_loss:.5g})" for point in dict.fromkeys(points))
