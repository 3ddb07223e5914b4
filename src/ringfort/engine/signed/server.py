"""The server's half: it signs what it asks, and believes nobody who is not enrolled at this moment."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ringfort.core.checks import whole
from ringfort.core.envelope import head_of
from ringfort.core.errors import AdmissionError, EngineError, MalformedUpdate, OutOfOrder, Replay
from ringfort.core.keys import Directory
from ringfort.core.ports import Exchange, Outcome, Reply
from ringfort.core.values import ClientId, Refusal
from ringfort.core.wire import open_frame
from ringfort.engine.signed.client import RECEIPT_STAGE, passes
from ringfort.engine.signed.said import Said
from ringfort.engine.signed.taken import TakenLog
from ringfort.identity.equivocation import EquivocationProof
from ringfort.identity.home import Identity
from ringfort.identity.messages import Place, Receipt, Seen, Taken, open_update, seal_receipt
from ringfort.identity.questions import Question, seal_question
from ringfort.identity.registry import RegistryView
from ringfort.identity.state import State

__all__ = ["SignedExchange"]

_TRAIN: Final = "train"
_CLOSING_S: Final = 5.0
_STAGES: Final = 64


@dataclass(frozen=True, slots=True)
class _At:
    """Where the federation is: every stage belongs to the round of the last broadcast."""

    run: str
    round: int
    model: str


class _Requests(Mapping[ClientId, bytes]):
    """Every client's request, put together when it is asked for: the payload is not copied for all at once."""

    def __init__(self, heads: Mapping[ClientId, bytes], payloads: Mapping[ClientId, bytes]) -> None:
        self._heads, self._payloads = heads, payloads

    def __getitem__(self, client: ClientId) -> bytes:
        return b"".join((self._heads[client], self._payloads[client]))

    def __iter__(self) -> Iterator[ClientId]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)


class SignedExchange:
    """Any exchange, among enrolled parties only: every message signed, every answer receipted.

    Args:
        inner: the transport. It need not be trusted: whoever it says a message is from, the signature decides.
        identity: the server's enrolment in force; asked at every exchange, so `Home(folder).identity` sees renewals.
        registry: who may speak now; asked at every message.
        clock: the time, with its zone. Only the registry and receipts use it; deadlines are the transport's.
        max_reply_bytes: most body of one answer. No default: it bounds what a message can make the server hash.
        sealed: the clients are behind a seal: the stages after the broadcast are the seal's, which signs them itself.
        folder: the run's, for what was taken and for proofs of equivocation; None keeps neither on disk.

    Guarantees:
        What comes out is a Reply only if its client, who may speak at this moment, signed it as the answer to exactly
        this request, and claims no more examples than it was enrolled for. Everything else is a Refusal with a
        stable reason, counted in `refused`; nothing that a client sends raises.
        A revocation holds from the next message on. An answer that was taken is on disk before its receipt leaves.
        The first of two different answers stays; the two are a proof, kept in `equivocations.jsonl`.

    Raises:
        BrokenChain (RF701): the registry cannot be believed. Nobody is heard until it can.
        OutOfOrder (RF502): a stage before any broadcast.

    Does not protect against: an enrolled client that signs what is well-formed and poisoned; the gate's and the walls'
        work. A transport that drops or delays messages: whoever is silent is absent. Errors that clients report
        (`Failure`) are not signed: forging one is as good as dropping the answer.

    Cost: one SHA-256 of each distinct payload and of each answer, and two Ed25519 signatures a client.
    """

    def __init__(
        self,
        inner: Exchange,
        identity: Callable[[], Identity],
        registry: RegistryView,
        *,
        clock: Callable[[], datetime],
        max_reply_bytes: int,
        sealed: bool = False,
        folder: Path | None = None,
    ) -> None:
        whole(1, max_reply_bytes=max_reply_bytes)
        self._inner, self._identity, self._registry, self._clock = inner, identity, registry, clock
        self._most, self._sealed = max_reply_bytes, sealed
        self._log = TakenLog(folder)
        self._at: _At | None = None
        self._seen: Seen | None = None
        self._number = 0
        self._asked: dict[ClientId, Place] = {}
        self._receipts: dict[ClientId, bytes] = {}
        for client, (said, at) in self._log.last().items():  # whoever was not told before a crash is told now
            self._receipt(client, said, at)
        self._lock = threading.RLock()
        self.refused: Counter[str] = Counter()
        """How many messages were refused, by reason."""

    def members(self) -> tuple[ClientId, ...]:
        """Who is enrolled as a client now, and can be asked."""
        enrolled = set(self._registry.state(self._clock()).clients())
        return tuple(sorted(enrolled & set(self._inner.members())))

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Ask everybody who may speak; take what they signed."""
        state = self._registry.state(self._clock())
        out: dict[ClientId, Outcome] = {}
        asked: dict[ClientId, bytes] = {}
        for client, payload in payloads.items():
            try:
                state.check(client)
            except AdmissionError as error:
                out[client] = self._refusal(client, error)
            else:
                asked[client] = payload
        if not asked:
            return out
        if passes(stage, sealed=self._sealed):
            requests: Mapping[ClientId, bytes] = asked
        else:
            requests = self._requests(stage, asked)
        replies = self._inner.exchange(stage, requests, deadline_s)
        now = self._clock()
        state = self._registry.state(now)
        directory = state.directory()
        taken: dict[ClientId, Said] = {}
        for client, reply in replies.items():
            if isinstance(reply, Reply):
                out[client] = outcome = self._outcome(stage, state, directory, client, reply)
                if isinstance(outcome, Reply) and outcome is not reply and stage != RECEIPT_STAGE:
                    taken[client] = Said(self._asked[client], head_of(reply.body))
                    self._log.taken(client, self._number, taken[client], now)
            else:
                out[client] = reply
        self._log.flush()
        for client, said in taken.items():
            self._receipt(client, said, now)
        return out

    def hear(self, client: ClientId, message: bytes | memoryview) -> Refusal:
        """For transports that can hear more than one answer: what came twice, late or unasked.

        It is never counted as an update. A second, different answer to one request is kept as a proof.
        """
        try:
            state = self._registry.state(self._clock())
            self._open(state, state.directory(), client, message)
            raise Replay("late", "came after its stage was over, or again")
        except AdmissionError as error:
            self._log.flush()
            return self._refusal(client, error)

    def close(self) -> None:
        """Send the last receipts, as far as they can be delivered, and close the inner exchange. Idempotent."""
        if self._receipts and self._at is not None:
            with contextlib.suppress(EngineError):
                self.exchange(RECEIPT_STAGE, dict.fromkeys(self._receipts, b""), _CLOSING_S)
        self._receipts = {}
        self._inner.close()

    def _requests(self, stage: str, payloads: Mapping[ClientId, bytes]) -> Mapping[ClientId, bytes]:
        me = self._identity()
        grant = me.grant.encode()
        digests: dict[int, bytes] = {}
        heads = {}
        for payload in payloads.values():
            if id(payload) not in digests:
                digests[id(payload)] = hashlib.sha256(payload).digest()
        if stage == _TRAIN:
            self._begin(next(iter(payloads.values())), len(payloads))
        if self._at is None:
            raise OutOfOrder(f"stage {stage[:64]!r} belongs to no round: the broadcast comes first")
        at, number = self._at, self._log.next_number(self._clock())
        self._number = number
        self._asked = {}
        for client, payload in payloads.items():
            receipt = self._receipts.get(client, b"")
            question = Question(at.run, at.round, stage, at.model, number, grant, receipt)
            head, digest = seal_question(
                me.key, me.pins.name, me.pins.authority, client, question, digests[id(payload)]
            )
            heads[client] = head
            self._asked[client] = Place(at.run, at.round, stage, at.model, me.pins.authority, digest)
        return _Requests(heads, payloads)

    def _begin(self, frame: bytes, n: int) -> None:
        header, _ = open_frame(frame, "broadcast", max_body_bytes=len(frame))
        at = _At(header.run, header.round, header.model)
        if self._seen is None or self._at is None or (at.run, at.round) != (self._at.run, self._at.round):
            self._seen = Seen(at.run, at.round, _STAGES * n)
        self._at = at

    def _outcome(self, stage: str, state: State, directory: Directory, client: ClientId, reply: Reply) -> Outcome:
        try:
            if client not in self._asked and not passes(stage, sealed=self._sealed):
                raise Replay("unasked", "answers a request that was never made to it")
            if passes(stage, sealed=self._sealed):
                state.check(client)
                return reply
            return Reply(client, self._open(state, directory, client, reply.body))
        except AdmissionError as error:
            return self._refusal(client, error)

    def _open(self, state: State, directory: Directory, client: ClientId, message: bytes | memoryview) -> memoryview:
        """The body of an answer that counts.

        Raises:
            AdmissionError (RF2xx): it does not.
        """
        with self._lock:
            place = self._asked.get(client)
            if place is None or self._seen is None:
                raise Replay("unasked", "answers a request that was never made to it")
            enrolment = state.check(client)
            body = open_update(message, directory, client, place, max_body_bytes=self._most)
            taken = self._seen.take(message)
            if isinstance(taken, EquivocationProof):
                self._log.proof(taken, self._clock())
                raise Replay("equivocation", "a second, different answer to one request: the first stays")
            with contextlib.suppress(MalformedUpdate):  # the gate says what is wrong with a frame
                header, _ = open_frame(body, "update", max_body_bytes=self._most)
                enrolment.check_claim(header.num_examples)
            if taken is Taken.REPEAT:
                self.refused["repeat"] += 1
            return body

    def _receipt(self, client: ClientId, said: Said, at: datetime) -> None:
        """Sign that this answer was taken; the client gets it with its next request, or the closing one."""
        me, receipt = self._identity(), Receipt(client, at, "taken")
        self._receipts[client] = seal_receipt(me.key, me.pins.name, said.place, said.head, receipt)

    def _refusal(self, client: ClientId, error: AdmissionError) -> Refusal:
        self.refused[error.reason] += 1
        return Refusal(client, error.code, error.reason, error.message)
