"""Floor 0: values, views, ports, errors, randomness and the wire. Needs numpy, threadpoolctl and a CBOR codec."""

from ringfort.core.dataset import Dataset
from ringfort.core.errors import RingfortError, explain
from ringfort.core.ports import Exchange, Failure, LocalTraining, Model, Outcome, Reply, Rule
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, F64, I64, Action, Aggregate, ClientId, Refusal, Update, Verdict, client_id
from ringfort.core.views import GramView, Rows, Total

__all__ = [
    "F32",
    "F64",
    "I64",
    "Action",
    "Aggregate",
    "ClientId",
    "Dataset",
    "Exchange",
    "Failure",
    "GramView",
    "LocalTraining",
    "Model",
    "Outcome",
    "Refusal",
    "Reply",
    "RingfortError",
    "Rows",
    "Rule",
    "Schema",
    "SecureRandom",
    "Seeds",
    "Total",
    "Update",
    "Verdict",
    "client_id",
    "explain",
]
