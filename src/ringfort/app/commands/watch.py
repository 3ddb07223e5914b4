"""ringfort watch: the control room of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfort.app.commands.shared import reported, who_decides

if TYPE_CHECKING:
    from ringfort.app.control.alerts import Hook
    from ringfort.app.tail import Tail

__all__ = ["watch"]


@reported
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder; the run may be going on.")],
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.", min=0, max=65535)] = 0,
    by: Annotated[str | None, typer.Option("--by", help="Under whose name decisions are recorded.")] = None,
    host: Annotated[list[str] | None, typer.Option("--host", help="Another Host name to answer. Repeatable.")] = None,
    alert_command: Annotated[
        str | None, typer.Option("--alert-command", help="Run this, the alert as JSON on its standard input.")
    ] = None,
    alert_webhook: Annotated[str | None, typer.Option("--alert-webhook", help="Post alerts as JSON here.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option("--allow-host", help="Hosts a webhook may be at.")] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="The webhook may lie in a private network.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="No page: one line of JSON per round and alert on stdout, as they come.")
    ] = False,
) -> None:
    """Show a run live in the browser: rounds, clients and the evidence about them, the privacy budget, alerts.

    The page is on this machine only (127.0.0.1), and asks for the token in the address that is printed. It reads the
    run's folder and writes nothing but what you decide about clients. Prometheus finds /metrics, with the token as
    bearer.
    """
    import shlex

    from ringfort.app.control.alerts import Command, Webhook
    from ringfort.app.tail import Tail

    hooks: list[Hook] = []
    if alert_command is not None:
        hooks.append(Command(tuple(shlex.split(alert_command))))
    if alert_webhook is not None:
        hooks.append(Webhook(alert_webhook, tuple(allow_host or ()), allow_private))
    tail = Tail(run)
    if as_json:
        _lines(tail, hooks)
        return
    _serve(tail, hooks, port, tuple(host or ()), by)


def _lines(tail: Tail, hooks: list[Hook]) -> None:
    import json

    from ringfort.app.control.alerts import AlertRules, send

    rules = AlertRules()
    told = False
    for new in tail.until_over():
        for record in new:
            value = record.to_json()
            typer.echo(json.dumps({"event": "round", **value, "digest": record.digest}))
            for alert in rules.alerts(tail.records[: record.round], record):
                typer.echo(json.dumps({"event": "alert", **alert.to_json()}))
                if told:
                    for failed in send(alert, hooks):
                        typer.echo(f"an alert could not be delivered: {failed}", err=True)
        told = True


def _serve(tail: Tail, hooks: list[Hook], port: int, hosts: tuple[str, ...], by: str | None) -> None:
    import asyncio
    import socket

    from ringfort.core.errors import InvalidValue, TransportError
    from ringfort.core.extras import extra
    from ringfort.core.randomness import SecureRandom

    with extra("web", "the control room needs a web server"):
        import uvicorn

        from ringfort.app.control.server import ControlRoom, control_room
    who = who_decides(by)
    tail.look()
    if not tail.records:
        raise InvalidValue("the run has no committed record yet: try again in a moment")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(64)  # from here on a browser waits instead of being refused
    except OSError as error:
        raise TransportError(f"port {port} cannot be had: {error.strerror or error}") from error
    port = listening.getsockname()[1]
    names = (f"127.0.0.1:{port}", f"localhost:{port}", *hosts)
    token = SecureRandom().token(24).hex()
    room = ControlRoom(tail, token, names, who, hooks=tuple(hooks))
    config = uvicorn.Config(
        control_room(room), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1,
        limit_concurrency=64, h11_max_incomplete_event_size=16_384,
    )  # fmt: skip

    async def serve() -> None:
        following = asyncio.create_task(room.follow())
        try:
            await uvicorn.Server(config).serve(sockets=[listening])
        finally:
            following.cancel()

    typer.echo(f"http://127.0.0.1:{port}/?token={token}")
    typer.echo("Ctrl-C ends it; the run is not touched.", err=True)
    with listening:
        asyncio.run(serve())
