"""No key reaches a model, whoever wrote it into a file or a log."""

from __future__ import annotations

from autoresearchd.propose.llm.api import Request, _arguments
from autoresearchd.thinkers import Llm

KEY = "sk-ant-api03-" + "a1B2" * 12


def test_what_is_sent_has_no_keys_and_what_the_model_said_is_untouched() -> None:
    said = {"role": "assistant", "content": [{"type": "thinking", "thinking": KEY, "signature": KEY}]}
    asked = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"text": KEY}]}]}
    request = Request(system=[{"type": "text", "text": f"log: {KEY}"}], tools=[], messages=[asked, said], max_tokens=9)
    sent = _arguments(Llm(), request)
    assert KEY not in str(sent["system"])
    assert KEY not in str(sent["messages"][0])
    assert sent["messages"][1] == said
