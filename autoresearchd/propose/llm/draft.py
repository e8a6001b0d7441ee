"""A model's draft: the editable files in memory, read and edited by exact text. What may not be never gets into it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable

from autoresearchd.proposal import Edit
from autoresearchd.propose._misses import with_edits
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._strangers import refusal
from autoresearchd.propose.llm import digest
from autoresearchd.propose.llm.fence import clean, line
from autoresearchd.propose.llm.modes import Task
from autoresearchd.propose.llm.tools import EditFile, ReadFile, SearchCode, ToolError

MOST_LINES, MOST_HITS = 600, 60


class Draft:
    """Best, or what the task begins with, as one conversation has changed it."""

    def __init__(self, context: Context, task: Task, scrub: Callable[[str], str]) -> None:
        self._context, self._scrub = context, scrub
        self.files = _start(context, task)
        self.checked = False
        """Since the last edit, with success."""

    def edits(self) -> tuple[Edit, ...]:
        """How it differs from best."""
        before, after = self._context.files, self.files
        return tuple(
            Edit(path=path, content=after.get(path))
            for path in sorted(before.keys() | after.keys())
            if before.get(path) != after.get(path)
        )

    def diff(self) -> str:
        """The same as a patch."""
        return digest.diff_of(self._context.files, self.files)

    def read(self, call: ReadFile) -> str:
        """Lines of a file, with their numbers. Raises: ToolError."""
        lines = self._text(call.path).splitlines()
        first = max(1, call.first_line)
        last = min(len(lines), call.last_line or len(lines), first + MOST_LINES - 1)
        body = "\n".join(f"{number:5d}  {lines[number - 1]}" for number in range(first, last + 1))
        return f"{call.path}, lines {first} to {last} of {len(lines)}\n{body}"

    def search(self, call: SearchCode) -> str:
        """Where a text occurs."""
        hits = [
            f"{path}:{number}: {text[:200]}"
            for path in sorted(self.files)
            for number, text in enumerate(self._text(path).splitlines(), start=1)
            if call.text in text
        ]
        more = f"\n({len(hits) - MOST_HITS} more)" if len(hits) > MOST_HITS else ""
        return "\n".join(hits[:MOST_HITS]) + more if hits else f"{call.text!r} does not occur"

    def edit(self, call: EditFile) -> str:
        """Replace a text, or make a file. Raises: ToolError where that cannot be, or nobody would take it."""
        path = call.path
        if not self._context.program.may_edit(path):
            raise ToolError(f"{line(path)} may not be edited; editable are {', '.join(sorted(self.files))}")
        if not call.old_text:
            if path in self.files:
                raise ToolError(f"{path} is there already: give the text that is to be replaced")
            return self._put(path, call.new_text)
        text = self._text(path)
        old, new = (_as_in(text, words) for words in (call.old_text, call.new_text))
        count = text.count(old)
        if count == 0:
            raise ToolError(f"old_text does not occur in {path}; nothing was changed. {_nearest(text, old)}")
        if count > 1:
            raise ToolError(f"old_text occurs {count} times in {path}; nothing was changed: give more of its lines")
        return self._put(path, text.replace(old, new))

    def _put(self, path: str, text: str) -> str:
        try:
            content = self._scrub(text).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ToolError(f"new_text is no text that a file can hold: {error.reason}") from error
        others = [edit for edit in self.edits() if edit.path != path]
        if why := refusal(self._context, [*others, Edit(path=path, content=content)]):
            raise ToolError(f"not taken: {line(why, most=400)}; nothing was changed")
        self.files[path], self.checked = content, False
        return f"{path} is edited"

    def _text(self, path: str) -> str:
        content = self.files.get(path)
        if content is None:
            raise ToolError(f"there is no editable file {line(path)}; there are {', '.join(sorted(self.files))}")
        return content.decode("utf-8", "surrogateescape")


def parses(edit: Edit) -> str:
    """Why Python cannot read an edited file; empty where it can, or has nothing to do with it."""
    if not edit.path.endswith(".py") or edit.content is None:
        return ""
    try:
        ast.parse(edit.content, filename=edit.path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{edit.path} does not parse: {line(str(error), most=300)}"
    return ""


def _start(context: Context, task: Task) -> dict[str, bytes]:
    """Best, or best with what is to be mended or overridden."""
    if task.suggestion is not None:
        return with_edits(context.files, task.suggestion.edits)
    if task.crash is not None:
        own = task.crash.experiment
        edits = context.history.merge(own.parent_tree, context.best_tree, own.tree)
        return with_edits(context.files, edits or ())
    return dict(context.files)


def _as_in(text: str, words: str) -> str:
    """A model's words with the line ends of a file: it is shown them without."""
    if "\r\n" in text and "\n" not in text.replace("\r\n", ""):
        return words.replace("\r\n", "\n").replace("\n", "\r\n")
    return words


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
