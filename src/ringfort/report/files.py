"""A folder with the report for people and the report for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringfort.audit.results import DrillResult, TrainResult
from ringfort.core.files import write_atomic
from ringfort.report.html import drill_html, train_html

__all__ = ["plain_json", "report_json", "write_parts", "write_reports"]


def write_reports(folder: Path, result: DrillResult | TrainResult) -> list[Path]:
    """Write `report.html` and `report.json` into an existing folder.

    Returns:
        The two paths, in that order.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    page = drill_html(result) if isinstance(result, DrillResult) else train_html(result)
    parts = {"report.html": page, "report.json": report_json(result)}
    return write_parts(folder, parts)


def write_parts(folder: Path, parts: Mapping[str, str]) -> list[Path]:
    """Write texts by file name into an existing folder; their paths, in that order.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    for name, text in parts.items():
        write_atomic(folder / name, text.encode())
    return [folder / name for name in parts]


def plain_json(value: Any) -> str:
    """Indented JSON with sorted keys, in ASCII so that printing it is harmless; what is not a number becomes null."""
    return json.dumps(_finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n"


def report_json(result: DrillResult | TrainResult) -> str:
    """The result as `plain_json`."""
    return plain_json(result.to_json())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value
