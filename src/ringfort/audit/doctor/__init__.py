"""Looks at a deployment as an attacker would, before one does: `examine(folder, now)`."""

from ringfort.audit.canary.findings import Finding, Severity
from ringfort.audit.doctor.examine import examine

__all__ = ["Finding", "Severity", "examine"]
