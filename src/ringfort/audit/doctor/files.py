"""Secrets on disk: who can read them, and what should not be there at all. Enrolments: are they still in force?"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ringfort.audit.finding import Finding, Severity

__all__ = ["check_enrolments", "check_secrets"]

_KEYS: Final = ("*.key", "*.key.pem", "*_key.pem", "letter", "*.letter")
_FRESH: Final = timedelta(days=1)


def check_secrets(folder: Path) -> Iterator[Finding]:
    """Private keys that others can read, folders that others can write, and an authority's key beside its members'."""
    for path in sorted({found for pattern in _KEYS for found in folder.rglob(pattern) if found.is_file()}):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding(
                "key file",
                Severity.HIGH,
                f"mode {mode:04o}: others on this machine can read or write it.",
                "Whoever has the key is that party, until its certificate ends: there is no revocation list in TLS.",
                f"chmod 600 {path.name}, make a new key, and let the old one be revoked.",
                str(path.relative_to(folder)),
            )
        if path.parent.stat().st_mode & 0o022 and not path.parent.stat().st_mode & stat.S_ISVTX:
            yield Finding(
                "key folder",
                Severity.HIGH,
                "others on this machine can write to a folder that holds a key.",
                "They can put their own key in its place.",
                f"chmod 700 {path.parent.name}",
                str(path.parent.relative_to(folder)),
            )
    for path in sorted(folder.rglob("state/cert.json")):
        yield Finding(
            "authority's key",
            Severity.HIGH,
            "central provisioning left the authority's private key and everybody's in one file, in clear.",
            "Whoever reads it can be anybody, and can make more members.",
            "Provision so that keys stay where they are made (docs/deployment.md), or move the file offline.",
            str(path.relative_to(folder)),
        )


def check_enrolments(folder: Path, now: datetime) -> Iterator[Finding]:
    """Enrolments that ended, and a registry that stopped: a deny list that does not arrive denies nobody."""
    for path in sorted(folder.rglob("grants/*.json")):
        try:
            expires = datetime.fromisoformat(json.loads(path.read_bytes())["enrolment"]["expires"])
        except (OSError, ValueError, KeyError, TypeError):
            yield _unread(path, folder)
            continue
        if expires <= now:
            yield Finding(
                "enrolment",
                Severity.MEDIUM,
                f"{path.stem}'s enrolment ended at {expires.isoformat(timespec='minutes')}.",
                "Nobody accepts its messages any more.",
                "Renew it, or provision again.",
                str(path.relative_to(folder)),
            )
    for path in sorted(folder.rglob("registry.jsonl")):
        age = now.timestamp() - path.stat().st_mtime
        if age > _FRESH.total_seconds():
            yield Finding(
                "deny list",
                Severity.MEDIUM,
                f"the registry was last written {age / 3600:.0f} hours ago.",
                "It holds who is revoked. A copy that no longer arrives lets a revoked client speak until its "
                "enrolment ends.",
                "Check that copies arrive; if nobody joined, renewed or left, this is fine.",
                str(path.relative_to(folder)),
            )
        yield from _joins(path, folder)


def _joins(registry: Path, folder: Path) -> Iterator[Finding]:
    try:
        with registry.open("rb") as file:
            policy = json.loads(file.readline())["body"]["policy"]
        cool_down_s = next(value for key, value in policy.items() if key.startswith("cool_down"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        yield _unread(registry, folder)
        return
    if cool_down_s == 0:
        yield Finding(
            "newcomers",
            Severity.INFO,
            "a client that joins may speak at once (cool_down 0).",
            "Somebody with many invitations can bring many clients into the next round.",
            "Found the authority with a cool-down; the demonstration of `ringfort up` has none.",
            str(registry.relative_to(folder)),
        )


def _unread(path: Path, folder: Path) -> Finding:
    return Finding(
        "unread file",
        Severity.MEDIUM,
        "the file could not be read as what its name says.",
        "What stands in it is not in these findings.",
        "Restore it, or check it by hand.",
        str(path.relative_to(folder)),
    )
