"""A server that speaks the Messages API over real HTTP: streamed or not, with usage and a cache that it computes.

What it answers is a script: a list of `Say`, one a call, or a function of the request. The last one is repeated.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class Say:
    """One answer of the server."""

    thinking: str = ""
    text: str = ""
    tools: tuple[tuple[str, Json | str], ...] = ()
    """Name and input; a string is sent as it is, whether it is JSON or not."""
    stop: str = ""
    """Default: tool_use where there are tools, else end_turn."""
    status: int = 200
    error: tuple[str, str] = ("", "")
    """Type and message of an error."""
    code: str = ""
    """Its `error_code`, in its details."""
    refusal: tuple[str, str] = ("", "")
    """Category and explanation, with `stop` refusal."""
    raw: tuple[str, str] = ("", "")
    """Content type and body, in the place of an answer: a server that does not speak this API."""
    headers: tuple[tuple[str, str], ...] = ()
    drop_after: int | None = None
    """Cut the connection after so many events of the stream."""
    error_after: int | None = None
    """Send the error as an event of the stream, after so many others."""
    wait: float = 0.0
    """Seconds before anything is said."""
    pause: float = 0.0
    """Seconds between two events of the stream."""
    piece: int = 200
    """Characters in one event of the stream."""
    output_tokens: int = 50


Script = Sequence[Say] | Callable[[Json], Say]


def tool(name: str, **given: Any) -> Say:
    """One tool call."""
    return Say(tools=((name, given),))


def submit(title: str = "Try a thing", category: str = "optimizer") -> tuple[str, Json]:
    """The call that ends a conversation."""
    return (
        "submit",
        {
            "title": title,
            "hypothesis": "It should help because it is better.",
            "category": category,
            "expected_effect": "-0.01 in the metric",
        },
    )


def edit(old: str, new: str, path: str = "train.py") -> tuple[str, Json]:
    return "edit_file", {"path": path, "old_text": old, "new_text": new}


def proposal(old: str, new: str, title: str = "Try a thing", path: str = "train.py") -> Say:
    """Everything in one answer."""
    return Say(tools=(edit(old, new, path), submit(title)))


@dataclass
class MessagesServer:
    """Started by `with`; `requests` are the bodies it got, `headers` what came with them, `streamed` events it sent."""

    script: Script
    counting: Say | None = None
    """What is said to a request to count tokens, in the place of their number."""
    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    usages: list[Json] = field(default_factory=list)
    streamed: int = 0

    def __enter__(self) -> MessagesServer:
        self._lock, self._cache, self._stopping = threading.Lock(), set[bytes](), threading.Event()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def calls(self) -> int:
        """Messages asked for, retries included."""
        return len(self.requests)

    def next(self, body: Json, headers: dict[str, str]) -> Say:
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(headers)
            script = self.script
        return script(body) if callable(script) else script[min(number, len(script) - 1)]

    def usage(self, body: Json, say: Say) -> Json:
        """As the API counts: the longest head that once ended at a mark is read from the cache, the rest up to the
        last mark is written to it."""
        read = marked = total = 0
        hour, fresh, digest = False, list[bytes](), hashlib.sha256(body["model"].encode())
        with self._lock:
            for block in _blocks(body):
                mark = block.get("cache_control")
                text = json.dumps({key: value for key, value in block.items() if key != "cache_control"}).encode()
                digest.update(text)
                total += len(text)
                if digest.digest() in self._cache:
                    read, hour = total, False
                if mark is not None:
                    marked = total
                    fresh.append(digest.digest())
                    hour = hour or mark.get("ttl") == "1h"
            self._cache.update(fresh)
        read = min(read, marked)
        written = marked - read
        counted = [count // CHARACTERS_A_TOKEN for count in (total - read - written, read, written)]
        usage = {
            "input_tokens": max(counted[0], 1),
            "cache_read_input_tokens": counted[1],
            "cache_creation_input_tokens": counted[2],
            "cache_creation": {
                "ephemeral_1h_input_tokens": counted[2] if hour else 0,
                "ephemeral_5m_input_tokens": 0 if hour else counted[2],
            },
            "output_tokens": say.output_tokens,
        }
        self.usages.append(usage)
        return usage

    def sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)


def _blocks(body: Json) -> Iterator[Json]:
    yield from body.get("tools", ())
    yield from body.get("system", ())
    for message in body["messages"]:
        yield {"role": message["role"]}
        yield from message["content"]


class _Handler(BaseHTTPRequestHandler):
    server_of: MessagesServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.startswith("/v1/messages/count_tokens"):
            if self.server_of.counting is not None and self._other(self.server_of.counting):
                return
            total = sum(len(json.dumps(block)) for block in _blocks(body))
            self._json(200, {"input_tokens": total // CHARACTERS_A_TOKEN})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        say = self.server_of.next(body, headers)
        self.server_of.sleep(say.wait)
        if self._other(say):
            return
        usage = self.server_of.usage(body, say)
        message = _message(body, say, usage)
        if not body.get("stream"):
            self._json(200, message)
            return
        self._stream(say, message)

    def _other(self, say: Say) -> bool:
        """Say what is no answer of the model's, if that is to be said."""
        if say.status != 200:
            kind, words = say.error
            error = {"type": kind, "message": words} | ({"details": {"error_code": say.code}} if say.code else {})
            self._json(say.status, {"type": "error", "error": error}, say.headers)
        elif say.raw[0]:
            self._bytes(200, say.raw[1].encode(), [("content-type", say.raw[0])])
        return say.status != 200 or bool(say.raw[0])

    def _json(self, status: int, body: Json, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._bytes(status, json.dumps(body).encode(), [("content-type", "application/json"), *headers])

    def _bytes(self, status: int, content: bytes, headers: Sequence[tuple[str, str]]) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, say: Say, message: Json) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for number, event in enumerate(_events(message, say)):
                if number == say.drop_after:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                if number == say.error_after:
                    kind, words = say.error
                    self._event({"type": "error", "error": {"type": kind, "message": words}})
                    break
                self._event(event)
                self.server_of.streamed += 1
                self.server_of.sleep(say.pause)
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up

    def _event(self, event: Json) -> None:
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments


def _message(body: Json, say: Say, usage: Json) -> Json:
    content: list[Json] = []
    if say.thinking:
        content.append({"type": "thinking", "thinking": say.thinking, "signature": ""})
    if say.text:
        content.append({"type": "text", "text": say.text})
    for number, (name, given) in enumerate(say.tools):
        content.append(
            {"type": "tool_use", "id": f"toolu_{time.monotonic_ns()}_{number}", "name": name, "input": given}
        )
    stop = say.stop or ("tool_use" if say.tools else "end_turn")
    category, explanation = say.refusal
    details = {"type": "refusal", "category": category, "explanation": explanation} if category else None
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": details,
        "usage": usage,
    }


def _events(message: Json, say: Say) -> Iterator[Json]:
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        if (name := block["type"]) in ("text", "thinking"):
            empty, text, kind = {**block, name: ""}, block[name], f"{name}_delta"
        else:
            empty, kind, name = {**block, "input": {}}, "input_json_delta", "partial_json"
            text = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for at in range(0, len(text), say.piece):
            delta = {"type": kind, name: text[at : at + say.piece]}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": say.output_tokens}}
    yield {"type": "message_stop"}
