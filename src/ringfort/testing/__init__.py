"""For tests, ours and third parties': toy cohorts and the conformance suites that any rule or attack can run."""

from ringfort.testing.conformance import check_attack, check_rule
from ringfort.testing.toys import toy_rows

__all__ = ["check_attack", "check_rule", "toy_rows"]
