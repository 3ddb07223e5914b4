"""The audit of a model: is there a backdoor in it, what does it look like, can it be taken out."""

from ringfort.audit.model.audit import (
    MEASURED,
    Holdout,
    Limits,
    MaskRow,
    ModelAudit,
    Picture,
    Verdict,
    audit_model,
    holdout,
)
from ringfort.audit.model.canaries import Canary, CanaryFinding, canary_bank, try_canaries
from ringfort.audit.model.drift import ClassDrift, Slice, SliceFinding, class_drift, label_slice, load_slice, try_slices
from ringfort.audit.model.gradients import Differentiable, differentiable
from ringfort.audit.model.intervals import Share, share
from ringfort.audit.model.inversion import NeuralCleanse, Trigger, anomaly_indices, shares_of_median
from ringfort.audit.model.repair import REPAIRS, Pruned, fine_tuned, pruned, unlearned
from ringfort.audit.model.strip import Strip

__all__ = [
    "MEASURED",
    "REPAIRS",
    "Canary",
    "CanaryFinding",
    "ClassDrift",
    "Differentiable",
    "Holdout",
    "Limits",
    "MaskRow",
    "ModelAudit",
    "NeuralCleanse",
    "Picture",
    "Pruned",
    "Share",
    "Slice",
    "SliceFinding",
    "Strip",
    "Trigger",
    "Verdict",
    "anomaly_indices",
    "audit_model",
    "canary_bank",
    "class_drift",
    "differentiable",
    "fine_tuned",
    "holdout",
    "label_slice",
    "load_slice",
    "pruned",
    "share",
    "shares_of_median",
    "try_canaries",
    "try_slices",
    "unlearned",
]
