"""What a folder is, and which checks it gets."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ringfort.audit.doctor.files import check_enrolments, check_secrets
from ringfort.audit.doctor.flower import check_flower, is_flower
from ringfort.audit.doctor.kit import check_kit, is_kit
from ringfort.audit.doctor.ports import check_dashboard, check_ports
from ringfort.audit.finding import Finding, worst_first
from ringfort.core.errors import DataUnavailable

__all__ = ["examine"]


def examine(folder: Path, now: datetime) -> tuple[Finding, ...]:
    """Check a deployment, the most severe finding first.

    Args:
        folder: a run of `ringfort up`, a startup kit or a folder with several, or a Flower project. Flower projects are
            read, never imported or run. Ports that a kit names are asked on this machine, without a certificate.
        now: the time, with its zone.

    Guarantees:
        Reads and asks only; changes nothing. No finding holds a key.

    Raises:
        DataUnavailable (RF106): the folder is none of these.

    Does not protect against: what only another machine can see (firewalls, proxies, other listeners), values that a
        Flower project computes when it runs, and whoever is root.
    """
    if not folder.is_dir():
        raise DataUnavailable(f"there is no folder {folder}")
    kits = sorted({path.parent for path in folder.rglob("startup") if is_kit(path.parent)})
    if not kits and not is_flower(folder):
        raise DataUnavailable(f"{folder} holds neither a startup kit nor a Flower project")
    findings = [*check_secrets(folder), *check_enrolments(folder, now)]
    for kit in kits:
        findings += check_kit(kit, now)
        findings += check_ports(kit)
    if kits:
        findings += check_dashboard()
    if is_flower(folder):
        findings += check_flower(folder)
    return worst_first(findings)
