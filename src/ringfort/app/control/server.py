"""The control room's web server: loopback, one token, no scripts but its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from ringfort.app.control.alerts import Alert, AlertRules, Hook, send
from ringfort.app.control.page import Scene, client_page, live, overview, style
from ringfort.app.tail import Tail
from ringfort.core.errors import RingfortError
from ringfort.rounds.decisions import Decision, Decisions
from ringfort.rounds.dossier import dossiers

__all__ = ["ControlRoom", "control_room"]

_COOKIE: Final = "ringfort"
_MOST_FORM_BYTES: Final = 4096
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser hides the origin of our own forms too
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SCRIPT: Final = """
const live = document.getElementById("live");
const source = new EventSource("events");
source.onmessage = (event) => { live.innerHTML = JSON.parse(event.data); document.body.dataset.link = "up"; };
source.onerror = () => { document.body.dataset.link = "down"; };
"""


@dataclass
class ControlRoom:
    """What the pages and the loops behind them share.

    Args:
        tail: the run.
        token: who knows it may look and decide.
        hosts: the values of a Host header that are answered.
        by: under whose name decisions are recorded.
        rules: when to tell somebody.
        hooks: whom to tell. Nobody is told about rounds that were there before.
        poll_s: how often the folder is looked at.
        subscribers: how many pages may keep themselves up to date at a time.
    """

    tail: Tail
    token: str
    hosts: tuple[str, ...]
    by: str
    rules: AlertRules = field(default_factory=AlertRules)
    hooks: Sequence[Hook] = ()
    poll_s: float = 0.5
    subscribers: int = 16
    alerts: list[Alert] = field(default_factory=list)
    trouble: str = ""
    _listening: int = 0
    _drawn: tuple[tuple[int, int, str, int], str] | None = None
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.refresh(tell=False)

    def refresh(self, *, tell: bool) -> tuple[Alert, ...]:
        """Read what is new. Trouble with the folder is shown, and never passed over."""
        before = len(self.tail.records)
        try:
            new = self.tail.look()
        except RingfortError as error:
            self.trouble = str(error)
            new = self.tail.records[before:]
        else:
            self.trouble = ""
        found: list[Alert] = []
        for i in range(before, before + len(new)):
            found += self.rules.alerts(self.tail.records[:i], self.tail.records[i])
        self.alerts += found
        return tuple(found) if tell else ()

    def scene(self) -> Scene:
        """For the pages."""
        recipe = self.tail.recipe()
        return Scene(
            title=str(recipe.get("title", self.tail.folder.name)),
            rounds=recipe.get("train", {}).get("rounds"),
            records=tuple(self.tail.records),
            alerts=tuple(reversed(self.alerts[-20:])),
            pending=self._pending(),
            trouble=self.trouble,
        )

    def _pending(self) -> tuple[str, ...]:
        try:
            waiting = Decisions(self.tail.folder).since(self.tail.records[-1].watch.get("decided", 0))
        except RingfortError as error:
            self.trouble = str(error)
            return ()
        return tuple(f"{one.action} {one.client} by {one.by}: {one.reason}" for one in waiting)

    @property
    def csrf(self) -> str:
        """What a form must carry: known to our pages, not to others'."""
        return hmac.new(self.token.encode(), b"ringfort control room form v1", hashlib.sha256).hexdigest()

    async def follow(self) -> None:
        """Look at the folder for as long as the server runs, and tell people about what is new."""
        while True:
            await asyncio.sleep(self.poll_s)
            for alert in self.refresh(tell=True):
                if self.hooks:
                    task = asyncio.create_task(self._tell(alert))
                    self._telling.add(task)
                    task.add_done_callback(self._telling.discard)

    async def _tell(self, alert: Alert) -> None:
        for said in await run_in_threadpool(send, alert, self.hooks):
            self.alerts.append(Alert("hook", alert.run, alert.round, f"an alert could not be delivered: {said}"))

    def drawn(self) -> str:
        """The live part, drawn again only if something on it can have changed: one drawing serves all listeners."""
        decisions = Decisions(self.tail.folder).path
        waiting = decisions.stat().st_size if decisions.exists() else 0
        state = (len(self.tail.records), len(self.alerts), self.trouble, waiting)
        if self._drawn is None or self._drawn[0] != state:
            self._drawn = (state, live(self.scene()))
        return self._drawn[1]

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events: the live part, whenever it changed; a comment every 15 seconds."""
        self._listening += 1
        try:
            shown, waited = "", 0.0
            while True:
                drawn = self.drawn()
                if drawn != shown:
                    shown, waited = drawn, 0.0
                    yield f"data: {json.dumps(drawn)}\n\n"
                elif waited >= 15:
                    waited = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(self.poll_s)
                waited += self.poll_s
        finally:
            self._listening -= 1

    @property
    def full(self) -> bool:
        """Whether another listener would be too many."""
        return self._listening >= self.subscribers


def control_room(room: ControlRoom) -> Starlette:
    """The application.

    Guarantees:
        Nothing but /livez is answered without the token, or under a Host that is not in the list; a decision also needs
        the form's own secret, and comes from our own page. Everything shown is escaped; no page loads anything but our
        script and style.
    """

    async def home(_: Request) -> Response:
        return _html(overview(room.scene()))

    async def events(_: Request) -> Response:
        if room.full:
            return PlainTextResponse("too many listeners", 503, headers=_HEADERS)
        return StreamingResponse(room.events(), media_type="text/event-stream", headers=_HEADERS)

    async def client(request: Request) -> Response:
        found = dossiers(room.tail.records)
        one = found.get(request.path_params["name"])
        if one is None:
            return PlainTextResponse("no such client", 404, headers=_HEADERS)
        said, status = "", 200
        if request.method == "POST":
            said, status = await decide(request, one.client)
        return _html(client_page(room.scene(), one, room.csrf, said), status)

    async def decide(request: Request, name: Any) -> tuple[str, int]:
        given = await _form(request)
        if not hmac.compare_digest(given.get("csrf", "").encode(), room.csrf.encode()) or not _ours(request):
            return "refused: this form is not one of ours; load the page again", 403
        try:
            action: Any = given.get("action", "")
            rounds = int(given["rounds"]) if action == "quarantine" and given.get("rounds", "").isdecimal() else None
            decision = Decision(action, name, given.get("reason", ""), room.by, rounds)
            await run_in_threadpool(Decisions(room.tail.folder).append, decision)
        except RingfortError as error:
            return f"not done: {error}", 400
        return f"{action} is recorded, and takes effect before the next round", 200

    async def metrics(_: Request) -> Response:
        from ringfort.app.control.metrics import exposition

        return Response(exposition(room.tail.records, room.alerts), media_type="text/plain; version=0.0.4")

    async def ready(_: Request) -> Response:
        return PlainTextResponse(room.trouble or "ok", 503 if room.trouble else 200, headers=_HEADERS)

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok", headers=_HEADERS)

    async def script(_: Request) -> Response:
        return Response(_SCRIPT, media_type="text/javascript", headers=_HEADERS)

    async def sheet(_: Request) -> Response:
        return Response(style(), media_type="text/css", headers=_HEADERS)

    routes = [
        Route("/", home),
        Route("/events", events),
        Route("/clients/{name}", client, methods=["GET", "POST"]),
        Route("/metrics", metrics),
        Route("/readyz", ready),
        Route("/livez", alive),
        Route("/control.js", script),
        Route("/control.css", sheet),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(_Door, room=room)
    return app


class _Door:
    """Checks Host and token before anything else sees a request."""

    def __init__(self, app: Any, room: ControlRoom) -> None:
        self._app, self._room = app, room

    async def __call__(self, scope: Any, receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        refused = self._refusal(request)
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host", "") not in self._room.hosts:
            return PlainTextResponse("unknown host", 421, headers=_HEADERS)
        if request.url.path == "/livez":
            return None
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/" and self._known(given):
            answer = RedirectResponse("/", 303, headers=_HEADERS)
            answer.set_cookie(_COOKIE, given, httponly=True, samesite="strict")
            return answer
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if self._known(request.cookies.get(_COOKIE, "")) or (scheme.lower() == "bearer" and self._known(bearer)):
            return None
        return PlainTextResponse(
            "the address with the token is on the terminal of `ringfort watch`", 401, headers=_HEADERS
        )

    def _known(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._room.token.encode())


def _html(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/html", headers=_HEADERS)


def _ours(request: Request) -> bool:
    """Whether a form was sent by a page of ours, as far as the browser says."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    return site == "same-origin" and (origin is None or origin.partition("//")[2] == request.headers.get("host"))


async def _form(request: Request) -> dict[str, str]:
    """A small form's fields; nothing of one that is too large or not a form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            return {}
    try:
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
    except (UnicodeDecodeError, ValueError):
        return {}
