"""What stands between the studio and the network: who may ask, from which page, and how much may be sent.

Every request passes here first, also those that Gradio answers. Browsers send a page's requests to any address that
the page names, so a studio on 127.0.0.1 is not private by itself: another site's page could ask the studio to paint or
to delete (cross-site requests), or could have its own name point to 127.0.0.1 and read the answers (DNS rebinding).
"""

import base64
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (  # nothing is fetched from elsewhere, whatever a page may contain
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": POLICY,
}


class TooLargeError(Exception):
    """More was sent than is allowed."""


@dataclass(frozen=True)
class Guard:
    """Answers for `app` where a request is not allowed.

    `hosts` are the values of the header Host that are allowed, None for any. `password` is asked for if there is one.
    A request's body may have `most_bytes`.
    """

    app: App
    hosts: tuple[str, ...] | None
    password: str | None
    most_bytes: int

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with a sentence."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._refusal(scope, headers):
            await _answer(send, *refusal)
            return
        await self._pass_on(scope, receive, send)

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and host not in self.hosts:
            return 421, f"the studio answers to {self.hosts[0]} alone, not to another name; open http://{self.hosts[0]}"
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "this request comes from another site's page; the studio answers its own page alone"
        navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return 403, "this request comes from another site's page; the studio answers its own page alone"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.most_bytes:
            return 413, f"at most {self.most_bytes // 10**6} MB can be sent at once; scale the picture down first"
        if self.password is not None and not _knows(headers.get("authorization", ""), self.password):
            return 401, "the studio asks for its password; any user name will do"
        return None

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        received, begun = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise TooLargeError
            return message

        async def headed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = {name.lower() for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(each for each in more if each[0] not in given)]
            await send(message)

        try:
            await self.app(scope, counted, headed)
        except TooLargeError:
            if not begun:
                await _answer(send, 413, f"at most {self.most_bytes // 10**6} MB can be sent at once")


def _knows(authorization: str, password: str) -> bool:
    kind, _, token = authorization.partition(" ")
    try:
        given = base64.b64decode(token, validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return False
    return kind.lower() == "basic" and hmac.compare_digest(given.encode(), password.encode())


async def _answer(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="impasto studio", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})
