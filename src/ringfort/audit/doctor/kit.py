"""One NVFlare startup kit: its certificates, its policy, its stores."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ringfort.audit.finding import Finding, Severity

__all__ = ["check_kit", "is_kit", "read_json"]

_LONG: Final = timedelta(days=90)
_SHORT: Final = 0.1


def is_kit(folder: Path) -> bool:
    """Whether this is a server's or a client's startup kit."""
    startup = folder / "startup"
    return (startup / "fed_server.json").exists() or (startup / "fed_client.json").exists()


def read_json(path: Path) -> Any:
    """What is in a file; None if that cannot be said."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def check_kit(kit: Path, now: datetime) -> Iterator[Finding]:
    """What a look into the kit's files tells."""
    yield from _certificates(kit, now)
    yield from _transport(kit)
    yield from _rights(kit)
    yield from _classes(kit)
    yield from _stores(kit)
    yield from _recipe(kit)


def _certificates(kit: Path, now: datetime) -> Iterator[Finding]:
    from cryptography import x509

    for path in sorted([*(kit / "startup").glob("*.crt"), *(kit / "startup").glob("*.pem")]):
        where = f"{kit.name}/startup/{path.name}"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError):
            yield Finding(
                "certificate",
                Severity.HIGH,
                "it cannot be read.",
                "This site cannot prove who it is, or cannot check who others are.",
                "Provision the site again.",
                where,
            )
            continue
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        left = certificate.not_valid_after_utc - now
        if left <= timedelta(0):
            yield Finding(
                "certificate",
                Severity.HIGH,
                f"it ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.",
                "Connections with it are refused: the site is out.",
                "Issue a new one.",
                where,
            )
        elif left < life * _SHORT:
            yield Finding(
                "certificate",
                Severity.MEDIUM,
                f"{_spoken(left)} left of {_spoken(life)}.",
                "When it ends, the site is out.",
                "Issue a new one now; for a root, plan the time when both are trusted.",
                where,
            )
        elif life > _LONG and path.suffix == ".crt":
            yield Finding(
                "certificate",
                Severity.MEDIUM,
                f"it lives {_spoken(life)}, of which {_spoken(left)} are left.",
                "NVFlare knows no revocation list: a stolen key works for as long as the certificate does.",
                "Issue certificates for days or weeks, and renew them.",
                where,
            )


def _spoken(span: timedelta) -> str:
    return f"{span.days} days" if span.days >= 2 else f"{span.total_seconds() / 3600:.1f} hours"


def _transport(kit: Path) -> Iterator[Finding]:
    for name in ("fed_server.json", "fed_client.json"):
        said = read_json(kit / "startup" / name)
        if said is None:
            continue
        part = said["servers"][0] if name == "fed_server.json" else said.get("client", {})
        if part.get("connection_security") != "mtls":
            yield Finding(
                "transport",
                Severity.HIGH,
                f"connection_security is {part.get('connection_security')!r}.",
                "Without mutual TLS, a party is whoever it says it is.",
                'Set it to "mtls" and provision certificates.',
                f"{kit.name}/startup/{name}",
            )


def _rights(kit: Path) -> Iterator[Finding]:
    """Who may bring code: what stands in authorization.json, or in the default that is in force without it."""
    path = kit / "local" / "authorization.json"
    if not path.exists():
        path = path.with_name("authorization.json.default")
    said = read_json(path)
    roles = said.get("permissions", {}) if isinstance(said, dict) else {}
    for role, rights in sorted(roles.items()):
        byoc = rights if isinstance(rights, str) else rights.get("byoc", "none")
        if byoc != "none":
            yield Finding(
                "code in jobs",
                Severity.HIGH,
                f"the role {role!r} may submit jobs that bring code (byoc {byoc!r}).",
                "Whoever has such a certificate runs what they like on this site, beside its data.",
                'Write "byoc": "none" for every role, and install the code on the site.',
                f"{kit.name}/local/{path.name}",
            )
    if not roles:
        yield Finding(
            "code in jobs",
            Severity.HIGH,
            "there is no policy that can be read.",
            "Nothing says who may do what here.",
            "Write local/authorization.json.",
            f"{kit.name}/local/{path.name}",
        )


def _resources(kit: Path) -> tuple[dict[str, Any], str]:
    path = kit / "local" / "resources.json"
    if not path.exists():
        path = path.with_name("resources.json.default")
    said = read_json(path)
    return (said if isinstance(said, dict) else {}), f"{kit.name}/local/{path.name}"


def _classes(kit: Path) -> Iterator[Finding]:
    said, where = _resources(kit)
    allowed = said.get("class_allow_list")
    if said.get("class_list_enforcement_mode", "enforce") != "enforce" or (allowed and "*" in allowed):
        yield Finding(
            "classes",
            Severity.HIGH,
            "a job may name any class that is installed here.",
            "Its arguments are the submitter's: many classes open files or run programs.",
            'Set "class_list_enforcement_mode" to "enforce" and list the classes that you use.',
            where,
        )
    elif allowed is None or any(not name.startswith(("ringfort.", "nvflare.collab.")) for name in allowed):
        count = "the default ones" if allowed is None else len(allowed)
        yield Finding(
            "classes",
            Severity.INFO,
            f"a job may name more classes than Ringfort needs ({count}).",
            "Each is a way in that nobody here uses.",
            "List the four that docs/deployment.md names.",
            where,
        )


def _stores(kit: Path) -> Iterator[Finding]:
    said, where = _resources(kit)
    shared = Path(tempfile.gettempdir()).resolve() / "nvflare"
    for path in _roots(said):
        if path == shared or shared in path.parents:
            yield Finding(
                "job store",
                Severity.MEDIUM,
                f"jobs or snapshots lie in {path}.",
                "All deployments of this machine share that folder, and whoever made it first owns it.",
                "Give the store a folder inside the kit's own.",
                where,
            )
    if any(part.get("id") == "site_log_streamer" for part in said.get("components", [])):
        yield Finding(
            "logs",
            Severity.INFO,
            "this site streams its error log to the server.",
            "Errors can quote data.",
            "Leave the component site_log_streamer out.",
            where,
        )


def _roots(value: Any) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("root_dir", "uri_root") and isinstance(inner, str) and inner != "/":
                yield Path(inner).resolve()
            else:
                yield from _roots(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _roots(inner)


def _recipe(kit: Path) -> Iterator[Finding]:
    """What the federation itself leaves open, by the recipe that a site agreed to."""
    profile = read_json(kit / "local" / "ringfort.json")
    if not isinstance(profile, dict) or not (kit / "startup" / "fed_server.json").exists():
        return  # once for a deployment, at its server
    path = Path(str(profile.get("arguments", {}).get("recipe", "")))
    try:
        recipe = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return
    if "seal" not in recipe and "privacy" not in recipe:
        yield Finding(
            "seal",
            Severity.MEDIUM,
            "the recipe has neither a seal nor privacy.",
            "The server reads every update in the clear, and can learn about clients' data from it.",
            "Add [seal] (docs/secure-aggregation.md) or [privacy].",
            path.name,
        )
    elif recipe.get("seal", {}).get("name") == "masked" and recipe["seal"].get("corrupt_fraction") == 0:
        yield Finding(
            "seal",
            Severity.MEDIUM,
            "the masked seal counts on no client helping the server (corrupt_fraction 0).",
            "Few clients that collude with the server can open another's update.",
            "State how many may collude.",
            path.name,
        )
    if recipe.get("defence", {}).get("f") == 0:
        yield Finding(
            "defence",
            Severity.MEDIUM,
            "the defence bears no hostile client (f 0).",
            "One client decides where the model goes.",
            "Set f to what the threat is, and a rule that bears it.",
            path.name,
        )
    if "deadline_s" not in recipe.get("train", {}):
        yield Finding(
            "deadline",
            Severity.INFO,
            "rounds have no deadline (train.deadline_s).",
            "A client that says nothing holds a round for ten minutes.",
            "Set one that an honest client meets.",
            path.name,
        )
