"""Floor 4: results as terminal tables, live progress, one self-contained HTML page, and JSON."""

from ringfort.report.card import model_card
from ringfort.report.curve import curve_html, curve_summary, write_curve
from ringfort.report.files import plain_json, report_json, write_reports
from ringfort.report.findings import failing, findings_json, write_findings
from ringfort.report.html import drill_html, train_html
from ringfort.report.model import ModelAuditResult, model_audit_html, model_audit_summary, write_model_audit
from ringfort.report.privacy import PrivacyResult, privacy_html, write_privacy
from ringfort.report.privacy_text import findings_list, privacy_summary
from ringfort.report.progress import DrillProgress, TrainProgress
from ringfort.report.terminal import drill_summary, drill_table, train_summary

__all__ = [
    "DrillProgress",
    "ModelAuditResult",
    "PrivacyResult",
    "TrainProgress",
    "curve_html",
    "curve_summary",
    "drill_html",
    "drill_summary",
    "drill_table",
    "failing",
    "findings_json",
    "findings_list",
    "model_audit_html",
    "model_audit_summary",
    "model_card",
    "plain_json",
    "privacy_html",
    "privacy_summary",
    "report_json",
    "train_html",
    "train_summary",
    "write_curve",
    "write_findings",
    "write_model_audit",
    "write_privacy",
    "write_reports",
]
