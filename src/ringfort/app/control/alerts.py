"""What somebody should be told at once, and how."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from ringfort.app.control.numbers import spent_share
from ringfort.core.checks import fraction
from ringfort.core.errors import InvalidValue, TransportError
from ringfort.report.words import clean, cleaned
from ringfort.rounds.record import RoundRecord

__all__ = ["Alert", "AlertRules", "Command", "Hook", "Webhook", "send"]

_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody should know.

    Args:
        kind: a stable short name.
        run: the run's name.
        round: when.
        text: one sentence, without anything that a client wrote.
        clients: about whom.
    """

    kind: str
    run: str
    round: int
    text: str
    clients: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, cleaned."""
        plain: dict[str, Any] = cleaned(asdict(self))
        return plain


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When to tell.

    Args:
        refused: more than this share of a cohort was refused.
        absent: more than this share did not answer or failed.
        budget: more than this share of the privacy budget is spent; told once.
        accuracy_loss: accuracy fell by more than this below the best of the last ten rounds.
    """

    refused: float = 0.2
    absent: float = 0.5
    budget: float = 0.8
    accuracy_loss: float = 0.1

    def __post_init__(self) -> None:
        fraction(refused=self.refused, absent=self.absent, budget=self.budget, accuracy_loss=self.accuracy_loss)

    def alerts(self, before: Sequence[RoundRecord], record: RoundRecord) -> tuple[Alert, ...]:
        """What there is to tell about one record, given those before it."""
        out: list[Alert] = []

        def tell(kind: str, text: str, clients: tuple[str, ...] = ()) -> None:
            out.append(Alert(kind, record.run, record.round, text, clients))

        jailed = tuple(
            change["client"] for change in record.watch.get("transitions", ()) if change["after"] == "quarantined"
        )
        if jailed:
            tell("quarantined", f"{len(jailed)} clients were put in quarantine", jailed)
        asked = max(1, len(record.cohort))
        if len(record.refusals) > self.refused * asked:
            who = tuple(sorted({refusal.client for refusal in record.refusals}))
            tell("refused", f"{len(record.refusals)} of {asked} messages were refused", who)
        silent = (*record.absent, *(failure.client for failure in record.failures))
        if len(silent) > self.absent * asked:
            tell("silent", f"{len(silent)} of {asked} clients failed or did not answer", tuple(sorted(set(silent))))
        if record.aborts:
            tell("aborted", f"a sealed round needed {len(record.aborts) + 1} attempts")
        spent, last = spent_share(record), max((spent_share(one) for one in before[-1:]), default=0.0)
        if spent > self.budget >= last:
            tell("budget", f"{100 * spent:.0f}% of the privacy budget is spent")
        best = max((one.metrics.get("accuracy", 0.0) for one in before[-10:]), default=0.0)
        now = record.metrics.get("accuracy", best)
        if best - now > self.accuracy_loss:
            tell("accuracy", f"accuracy fell from {100 * best:.1f}% to {100 * now:.1f}%")
        return tuple(out)


class Hook(Protocol):
    """Somebody to tell."""

    def __call__(self, alert: Alert, /) -> None:
        """Tell. Raises TransportError (RF602)."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a program, without a shell, with the alert as JSON on its standard input.

    Args:
        words: the program and its arguments, as given; nothing of the alert is ever among them.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words:
            raise InvalidValue("an alert command needs at least a program")

    def __call__(self, alert: Alert) -> None:
        """Run it, for at most ten seconds."""
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own words
                self.words, input=json.dumps(alert.to_json()).encode(), capture_output=True, timeout=_TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TransportError(f"the alert command did not run: {type(error).__name__}") from error
        if done.returncode:
            raise TransportError(f"the alert command left with {done.returncode}")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts the alert as JSON to an address whose host was allowed by name.

    Args:
        url: http or https, without credentials in it.
        allowed: hosts that may be called; the address's must be among them.
        private: whether it may lie in a private, local or reserved network. Asked for by name: a hook that follows
            whatever it is given can be turned against the inside.

    Guarantees:
        No redirects and no proxies are followed. Every address that the name has is checked before each call.

    Does not protect: against a name that changes its address between the check and the call; what the receiver does
        with client names.
    """

    url: str
    allowed: tuple[str, ...]
    private: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InvalidValue("an alert address is http or https, with a host and without a user or password")
        if parts.hostname not in self.allowed:
            raise InvalidValue(f"the host {clean(parts.hostname)!r} is not allowed: name it with --allow-host")

    def __call__(self, alert: Alert) -> None:
        """Post it."""
        self._require_reachable()
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self.url, json.dumps(alert.to_json()).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(1024)
        except (OSError, ValueError) as error:
            raise TransportError(f"the alert was not taken: {type(error).__name__}") from error

    def _require_reachable(self) -> None:
        parts = urlsplit(self.url)
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        except OSError as error:
            raise TransportError("the alert address has no known host") from error
        for address in {info[4][0] for info in found}:
            known = ipaddress.ip_address(str(address).partition("%")[0])
            if not self.private and not known.is_global:
                raise TransportError("the alert address lies in a private network: allow it with --allow-private")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def send(alert: Alert, hooks: Sequence[Hook], wait: Callable[[float], object] = time.sleep) -> list[str]:
    """Tell everybody, each at most three times, with a growing wait; what went wrong in the end, in words."""
    failed = []
    for hook in hooks:
        for attempt in range(3):
            try:
                hook(alert)
                break
            except TransportError as error:
                if attempt == 2:
                    failed.append(error.message)
                else:
                    wait(2.0**attempt)
    return failed
