"""Inference attacks on updates and models: membership, properties, reconstruction; each with its threat model.

`ringfort.audit.inference.torch` (inverting gradients) is never imported from here.
"""

from ringfort.audit.inference.inconsistency import ModelInconsistency
from ringfort.audit.inference.membership import LogitGain, LossThreshold, ShadowAttack, UpdateCosine, attack_members
from ringfort.audit.inference.metrics import Ceiling, Likeness, Rates, ceiling, likeness, rates
from ringfort.audit.inference.observe import (
    ExampleProtection,
    Observation,
    Protection,
    narrowed,
    noise_share,
    observe,
)
from ringfort.audit.inference.property import Property, PropertyAttack, PropertyFinding
from ringfort.audit.inference.reconstruction import FirstLayer, Imprint, expected_share, label_score, restore_labels
from ringfort.audit.inference.report import Effort, PrivacyReport, PrivacyScenario, privacy_report
from ringfort.audit.inference.threat import InferenceThreat, Server, View

__all__ = [
    "Ceiling",
    "Effort",
    "ExampleProtection",
    "FirstLayer",
    "Imprint",
    "InferenceThreat",
    "Likeness",
    "LogitGain",
    "LossThreshold",
    "ModelInconsistency",
    "Observation",
    "PrivacyReport",
    "PrivacyScenario",
    "Property",
    "PropertyAttack",
    "PropertyFinding",
    "Protection",
    "Rates",
    "Server",
    "ShadowAttack",
    "UpdateCosine",
    "View",
    "attack_members",
    "ceiling",
    "expected_share",
    "label_score",
    "likeness",
    "narrowed",
    "noise_share",
    "observe",
    "privacy_report",
    "rates",
    "restore_labels",
]
