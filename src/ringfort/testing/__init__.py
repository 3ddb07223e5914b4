"""For tests, ours and third parties': toy cohorts, and and conformance suites for whatever others may add.

What is here is for tests alone: `DeterministicRandom` makes noise and keys that anybody can predict.
"""

from ringfort.testing.attacks import check_attack
from ringfort.testing.detectors import check_detector
from ringfort.testing.enrolled import Enrolled, enrol
from ringfort.testing.mechanisms import check_mechanism
from ringfort.testing.randomness import DeterministicRandom
from ringfort.testing.rules import check_rule
from ringfort.testing.sanitisers import check_check, check_sanitiser
from ringfort.testing.seals import check_seal
from ringfort.testing.toys import toy_context, toy_rows

__all__ = [
    "DeterministicRandom",
    "Enrolled",
    "check_attack",
    "check_check",
    "check_detector",
    "check_mechanism",
    "check_rule",
    "check_sanitiser",
    "check_seal",
    "enrol",
    "toy_context",
    "toy_rows",
]
