"""Findings as SARIF 2.1.0, which code hosts and security tools read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from ringfort.audit.finding import Finding, Severity, Status
from ringfort.audit.results import Manifest
from ringfort.core.tensors import digest_of
from ringfort.report.words import clean, cleaned

__all__ = ["sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_KINDS: Final = {Status.PASS: "pass", Status.INCONCLUSIVE: "open", Status.FAIL: "fail", Status.ERROR: "fail"}
_SCORES: Final = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.0",
    Severity.LOW: "2.0",
    Severity.INFO: "0.0",
}
_TAXONOMIES: Final = (
    ("atlas", "MITRE ATLAS", "5.6.0", "https://atlas.mitre.org"),
    ("owasp", "OWASP Machine Learning Security Top 10", "2023", "https://owasp.org/www-project-machine-learning-security-top-10/"),
    ("nist", "NIST AI 100-2", "2023", "https://doi.org/10.6028/NIST.AI.100-2e2023"),
)  # fmt: skip


def sarif(findings: Iterable[Finding], manifest: Manifest | None, recipe: str) -> str:
    """One SARIF log with one run.

    Args:
        findings: all of them; what passed or has no result is in it as such ("pass", "open"), and an error is a
            failure.
        manifest: what is needed to run it again; None for checks that run nothing.
        recipe: the file that findings without a place of their own are filed under.
    """
    found = tuple(findings)
    rules = sorted({finding.check for finding in found})
    run: dict[str, Any] = {
        "tool": {"driver": _driver(found, rules, manifest)},
        "taxonomies": [_taxonomy(found, *one) for one in _TAXONOMIES],
        "results": [_result(finding, rules, recipe) for finding in found],
        "columnKind": "utf16CodeUnits",
    }
    if manifest is not None:
        run["invocations"] = [
            {
                "executionSuccessful": all(finding.status is not Status.ERROR for finding in found),
                "commandLine": clean(manifest.command),
            }
        ]
        run["properties"] = {"recipeDigest": manifest.recipe_digest, "seed": manifest.seed}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, allow_nan=False) + "\n"


def _driver(found: tuple[Finding, ...], rules: list[str], manifest: Manifest | None) -> dict[str, Any]:
    worst = {rule: min((f.severity for f in found if f.check == rule), key=list(Severity).index) for rule in rules}
    return {
        "name": "Ringfort",
        **({"version": manifest.ringfort} if manifest is not None else {}),
        "rules": [
            {
                "id": clean(rule),
                "shortDescription": {"text": clean(rule)},
                "defaultConfiguration": {"level": _LEVELS[worst[rule]]},
                "properties": {"security-severity": _SCORES[worst[rule]], "tags": ["security"]},
            }
            for rule in rules
        ],
        "supportedTaxonomies": [{"name": name} for _, name, _, _ in _TAXONOMIES],
    }


def _taxonomy(found: tuple[Finding, ...], key: str, name: str, version: str, address: str) -> dict[str, Any]:
    ids = sorted({taxon for finding in found for taxon in getattr(finding.taxonomy, key)})
    return {"name": name, "version": version, "informationUri": address, "taxa": [{"id": taxon} for taxon in ids]}


def _result(finding: Finding, rules: list[str], recipe: str) -> dict[str, Any]:
    kind = _KINDS[finding.status]
    level = "error" if finding.status is Status.ERROR else _LEVELS[finding.severity]
    uri, line = _place(finding.where, recipe)
    text = ". ".join(clean(part).rstrip(".") for part in (finding.what, finding.why, finding.fix) if part) + "."
    region = {"region": {"startLine": line}} if line else {}
    said = json.dumps([finding.check, finding.attack, finding.defence, finding.where]).encode()
    return {
        "ruleId": clean(finding.check),
        "ruleIndex": rules.index(finding.check),
        "kind": kind,
        "level": level if kind == "fail" else "none",
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, **region}}],
        "partialFingerprints": {"ringfortFinding/v1": digest_of(said)},
        "taxa": [
            {"id": taxon, "toolComponent": {"name": name}}
            for key, name, _, _ in _TAXONOMIES
            for taxon in getattr(finding.taxonomy, key)
        ],
        "properties": {
            "severity": finding.severity.value,
            "status": finding.status.value,
            **{key: cleaned(value) for key, value in finding.to_json().items() if key in _KEPT and value},
        },
    }


_KEPT: Final = ("attack", "defence", "measured", "seeds", "clients", "command", "limits", "evidence")


def _place(where: str, recipe: str) -> tuple[str, int | None]:
    """(address, line) of "file:3", or of the recipe."""
    name, _, line = where.rpartition(":")
    if name and line.isdigit() and int(line) > 0:
        return _relative(name), int(line)
    return _relative(where or recipe), None


def _relative(path: str) -> str:
    from urllib.parse import quote

    return quote(clean(path).replace("\\", "/").lstrip("/")) or "recipe"
