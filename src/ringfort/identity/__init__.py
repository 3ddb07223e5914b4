"""Who may speak: an authority, invitations, enrolments, a registry on disk, and what members and servers sign.

`commands` is what `ringfort identity` does. The round server needs `RegistryView` (who may speak now), `open_update`,
`Seen` and `seal_receipt`; a client needs `Home(...).identity()`, `seal_update` and `open_receipt`.
"""

from ringfort.identity.authority import Authority, Role, Subject
from ringfort.identity.enrolment import Enrolment, Grant, Request, directory_of, make_request
from ringfort.identity.equivocation import Claim, EquivocationProof
from ringfort.identity.home import Home, Identity
from ringfort.identity.invitations import Invitation, JoinPolicy, Letter, Quota, Token
from ringfort.identity.messages import (
    Place,
    Receipt,
    Seen,
    Taken,
    open_receipt,
    open_update,
    seal_receipt,
    seal_update,
)
from ringfort.identity.questions import Question, read_question, seal_question
from ringfort.identity.registry import Registry, RegistryView
from ringfort.identity.state import Member, Standing, State

__all__ = [
    "Authority",
    "Claim",
    "Enrolment",
    "EquivocationProof",
    "Grant",
    "Home",
    "Identity",
    "Invitation",
    "JoinPolicy",
    "Letter",
    "Member",
    "Place",
    "Question",
    "Quota",
    "Receipt",
    "Registry",
    "RegistryView",
    "Request",
    "Role",
    "Seen",
    "Standing",
    "State",
    "Subject",
    "Taken",
    "Token",
    "directory_of",
    "make_request",
    "open_receipt",
    "open_update",
    "read_question",
    "seal_question",
    "seal_receipt",
    "seal_update",
]
