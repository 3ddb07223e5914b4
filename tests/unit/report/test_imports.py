import subprocess
import sys

HEAVY = ("torch", "sklearn", "scipy", "pydantic", "jinja2")


def test_reports_import_nothing_heavy():
    code = f"import sys, ringfort.report; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
