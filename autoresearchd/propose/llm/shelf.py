"""Proposals that are paid for and not opened yet, a file each, so that a stop does not lose them. A cache: what is
deleted here is an idea less, and nothing that git holds is in doubt.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from autoresearchd.proposal import Proposal
from autoresearchd.propose._misses import line_of_best
from autoresearchd.propose._protocol import Context

log = structlog.get_logger()


class _Kept(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    proposal: Proposal


class Shelf:
    """The files of one folder, by conversation; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._talks: dict[str, Proposal] = {}
        for path in sorted(folder.glob("*.json")) if folder is not None else ():
            self._read(path)

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What lies there, oldest first."""
        return tuple(self._talks.values())

    def put(self, talk: str, proposal: Proposal) -> None:
        """Keep what a conversation has led to."""
        if self._folder is None:
            return
        self._talks[talk] = proposal
        keep(self._path(talk), _Kept(proposal=proposal).model_dump_json())

    def drop(self, proposal: Proposal) -> None:
        """It came to nothing."""
        self.clear(but=[talk for talk, each in self._talks.items() if each != proposal])

    def clear(self, but: Collection[str]) -> None:
        """Forget what other conversations than these have led to: it is in git by now."""
        for talk in self._talks.keys() - set(but):
            del self._talks[talk]
            self._path(talk).unlink(missing_ok=True)

    def _path(self, talk: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{talk}.json"

    def _read(self, path: Path) -> None:
        try:
            self._talks[path.stem] = _Kept.model_validate_json(path.read_bytes()).proposal
        except (OSError, ValidationError) as error:
            log.warning("kept_proposal_unreadable", path=str(path), why=str(error))


def has_place(proposal: Proposal, context: Context) -> bool:
    """Whether this lab knows the best that a kept proposal was made from."""
    steps = [line.experiment for line in line_of_best(context)]
    return proposal.parent in {context.best, *(step.commit for step in steps), *(step.parent for step in steps)}


def keep(path: Path, text: str) -> None:
    """Have a file hold this text or, whenever the power goes, what it held before; a full disk is only said."""
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        log.warning("not_kept", path=str(path), why=str(error), then="a restart forgets it")
