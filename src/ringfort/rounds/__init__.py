"""Floor 2: the round, the federation loop and the journal. No sockets, no clocks: those are the engine's."""

from ringfort.rounds.decisions import Decision, Decisions
from ringfort.rounds.dossier import Dossier, dossiers
from ringfort.rounds.federation import Federation, State
from ringfort.rounds.fuse import Defence, Fused, History, fuse, needs, require
from ringfort.rounds.gate import Admitted, Gate, RoundPlan
from ringfort.rounds.hosted import Answer, Hosted
from ringfort.rounds.journal import Journal, read_records
from ringfort.rounds.record import RoundRecord

__all__ = [
    "Admitted",
    "Answer",
    "Decision",
    "Decisions",
    "Defence",
    "Dossier",
    "Federation",
    "Fused",
    "Gate",
    "History",
    "Hosted",
    "Journal",
    "RoundPlan",
    "RoundRecord",
    "State",
    "dossiers",
    "fuse",
    "needs",
    "read_records",
    "require",
]
