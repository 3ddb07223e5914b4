"""Floor 4: results as terminal tables, live progress, one self-contained HTML page, and JSON."""

from ringfort.report.files import report_json, write_reports
from ringfort.report.html import drill_html, train_html
from ringfort.report.progress import DrillProgress, TrainProgress
from ringfort.report.terminal import drill_summary, drill_table, train_summary

__all__ = [
    "DrillProgress",
    "TrainProgress",
    "drill_html",
    "drill_summary",
    "drill_table",
    "report_json",
    "train_html",
    "train_summary",
    "write_reports",
]
