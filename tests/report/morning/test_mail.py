"""The hook that the manual shows, with a mail server that really takes the mail."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from autoresearchd.errors import UserError
from autoresearchd.report.morning import filing
from tests.report.morning.test_filing import configured

smtp = pytest.importorskip("aiosmtpd.smtp", reason="aiosmtpd is not installed")
MANUAL = Path(__file__).parents[3] / "docs" / "watching.md"


class Mailbox:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 Message accepted for delivery"


@contextmanager
def post_office() -> Iterator[tuple[str, Mailbox]]:
    """A mail server on this machine, by its address."""
    loop, box = asyncio.new_event_loop(), Mailbox()
    server = loop.run_until_complete(loop.create_server(lambda: smtp.SMTP(box, loop=loop), "127.0.0.1", 0))
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", box
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()


def by_the_manual(program: Path, server: str) -> Path:
    """The program with the hook of the manual, and the hook's own file beside it."""
    _, _, section = MANUAL.read_text("utf-8").partition("\n### By mail\n")
    settings, script = re.findall(r"```(?:toml|python)\n(.*?)```", section, re.DOTALL)[:2]
    assert '"localhost:25"' in script
    (program.parent / "mail.py").write_text(script.replace("localhost:25", server))
    return configured(program, settings.removeprefix("[report]\n"))


def test_the_hook_of_the_manual_mails_the_outcome_and_the_report(program: Path) -> None:
    with post_office() as (server, box):
        place = filing.file(by_the_manual(program, server))
    (mail,) = box.mails
    assert mail["subject"].startswith("Of 4 changes tried 1 was kept, which took val_bpb from 1.50000 to 1.40000")
    (report,) = mail.iter_attachments()
    assert (report.get_content_type(), report.get_filename()) == ("text/html", place.name)
    assert report.get_content().splitlines() == place.read_text("utf-8").splitlines()


def test_a_mail_server_that_is_not_there_is_said_and_the_report_is(program: Path) -> None:
    with post_office() as (server, _):
        pass
    with pytest.raises(UserError, match=r"ended with exit code 1: .*Connection refused"):
        filing.file(by_the_manual(program, server))
    assert (program.parent / "experiments.git/autoresearchd/reports/latest.html").exists()
