"""The watch: detectors that measure, records that remember, a policy that decides.

scores      Norm, NormHugging, CosineToCentre, Spectral, Neighbours, Likeness, Twins   GramView
            SignAgreement, LayerShares, EnergyProfile, ExceededThresholds, Predicted   Rows
            Together(scores)
detectors   InCohort(score), OwnPast(score, drift=...), Drift(score), Calibrated(score, calibration)
watch       Watch(detectors, Policy(alpha=..., reputation=...)), or recommended(alpha=...)
"""

from ringfort.detect.calibrated import Calibrated, Calibration
from ringfort.detect.coordinates import LayerShares, SignAgreement
from ringfort.detect.detector import Detector, Inspection, Measured, Promise, Score, sight
from ringfort.detect.directions import CosineToCentre, Spectral
from ringfort.detect.drift import Drift
from ringfort.detect.in_cohort import InCohort
from ringfort.detect.last_layer import EnergyProfile, ExceededThresholds, LastLayer
from ringfort.detect.neighbours import Likeness, Neighbours, Twins
from ringfort.detect.norms import Norm, NormHugging
from ringfort.detect.own_past import OwnPast
from ringfort.detect.policy import Decision, Policy, Ruling
from ringfort.detect.predicted import Predicted
from ringfort.detect.presets import SCORES, recommended, score
from ringfort.detect.reputation import Reputation, Standing, Standings, Transition
from ringfort.detect.together import Together
from ringfort.detect.watch import Watch, Watched

__all__ = [
    "SCORES",
    "Calibrated",
    "Calibration",
    "CosineToCentre",
    "Decision",
    "Detector",
    "Drift",
    "EnergyProfile",
    "ExceededThresholds",
    "InCohort",
    "Inspection",
    "LastLayer",
    "LayerShares",
    "Likeness",
    "Measured",
    "Neighbours",
    "Norm",
    "NormHugging",
    "OwnPast",
    "Policy",
    "Predicted",
    "Promise",
    "Reputation",
    "Ruling",
    "Score",
    "SignAgreement",
    "Spectral",
    "Standing",
    "Standings",
    "Together",
    "Transition",
    "Twins",
    "Watch",
    "Watched",
    "recommended",
    "score",
    "sight",
]
