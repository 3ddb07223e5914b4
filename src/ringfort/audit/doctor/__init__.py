"""Looks at a deployment as an attacker would, before one does: `examine(folder, now)`."""

from ringfort.audit.doctor.examine import examine
from ringfort.audit.finding import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
