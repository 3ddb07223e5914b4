"""The client's half: it answers one server's signed requests, each once, and signs what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from ringfort.core.checks import whole
from ringfort.core.envelope import head_of
from ringfort.core.errors import (
    AdmissionError,
    Incompatible,
    Inconsistent,
    InvalidValue,
    MalformedUpdate,
    Replay,
    RingfortError,
    UnknownClient,
)
from ringfort.core.keys import Directory
from ringfort.core.ports import Exchange, Failure, Outcome, Reply
from ringfort.core.values import ClientId
from ringfort.core.wire import open_frame
from ringfort.engine.in_process import Node
from ringfort.engine.signed.heard import Memory
from ringfort.engine.signed.receipts import Receipts
from ringfort.identity.authority import Role
from ringfort.identity.enrolment import Grant
from ringfort.identity.home import Identity
from ringfort.identity.messages import Place, open_receipt, seal_update
from ringfort.identity.questions import Heard, read_question
from ringfort.identity.times import utc

__all__ = ["RECEIPT_STAGE", "Asked", "ClientSide", "SignedClients", "SignedNode"]

RECEIPT_STAGE: Final = "receipt"
"""A request at this stage only brings a receipt; it is answered with nothing."""
_TRAIN: Final = "train"

Clock = Callable[[], datetime]


def passes(stage: str, *, sealed: bool) -> bool:
    """Whether a stage is a seal's own, whose messages the seal signs: everything but the broadcast and receipts."""
    return sealed and stage not in (_TRAIN, RECEIPT_STAGE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was verified.

    Args:
        place: where the answer belongs.
        payload: what the server sent. A view of the message.
        content: SHA-256 of the payload.
        again: exactly this request was heard before: do the work once.
    """

    place: Place
    payload: memoryview = field(repr=False)
    content: bytes
    again: bool


class ClientSide:
    """One client's half of the signed wire, without its transport. Bytes in, bytes out.

    Args:
        identity: the client's enrolment in force; asked at every message, so `Home(folder).identity` sees renewals.
        server: the one server that it answers.
        clock: the time, with its zone.
        max_request_bytes: most payload of one request. No default: it bounds what a request can make it hash.
        folder: where it remembers what it answered, and keeps its receipts; None keeps nothing over a restart.

    Guarantees:
        Answers a request only if the pinned server, enrolled now by the pinned authority, signed it for this client,
        federation, stage and content, and if it is newer than every request heard before. Runs never go back a round.
        What it refuses, it refuses before it looks into the payload.

    Raises:
        MalformedUpdate (RF201), UnknownClient (RF202), BadSignature (RF203), Replay (RF204), Inconsistent (RF505).

    Does not protect against: what the server chooses to ask: guards, floors and seals do. Nor against a server that was
        revoked, until its enrolment expires: a client has no registry.

    Cost: one SHA-256 of each payload and one Ed25519 signature either way; with a folder, two fsyncs a request.
    """

    def __init__(
        self,
        identity: Callable[[], Identity],
        server: ClientId,
        *,
        clock: Clock,
        max_request_bytes: int,
        folder: Path | None = None,
    ) -> None:
        whole(1, max_request_bytes=max_request_bytes)
        self._identity, self._server, self._clock = identity, server, clock
        self._most = max_request_bytes
        self._memory = Memory(folder)
        self.receipts = Receipts(folder)
        self._grant = b""
        self._believed: Grant | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> ClientId:
        """Its name."""
        return self._identity().pins.name

    def open(self, stage: str, message: bytes | memoryview) -> Asked:
        """Verify one request, and remember it before it is answered."""
        heard = read_question(message, stage, max_body_bytes=self._most)
        me = self._identity()
        with self._lock:
            self._memory.require_recent(heard)
            directory = self._directory(me, heard)
            payload = heard.open(directory, me.pins.authority, me.pins.name, max_body_bytes=self._most)
            again = self._memory.is_repeat(heard)
            if stage == _TRAIN:
                _require_model(heard, payload)
            if not again:
                self._memory.write(heard)
                self._keep_receipt(directory, heard)
        return Asked(heard.place(me.pins.authority), payload, heard.content, again)

    def answer(self, asked: Asked, body: bytes | memoryview) -> bytes:
        """`body`, signed as the answer to what was asked."""
        me = self._identity()
        message = seal_update(me.key, me.pins.name, asked.place, body)
        if asked.place.stage != RECEIPT_STAGE:
            self.receipts.said(asked.place, head_of(message))
        return message

    def _directory(self, me: Identity, heard: Heard) -> Directory:
        """The pinned server's key, by the grant that came with the request."""
        if heard.server != self._server:
            raise UnknownClient("wrong-server", "the request is from another server than the pinned one")
        raw = heard.question.grant
        if self._believed is None or raw != self._grant:
            try:
                grant = Grant.decode(raw)
            except InvalidValue as error:
                raise MalformedUpdate("grant", "the server's grant is none") from error
            grant.verify(me.pins.authority)
            self._grant, self._believed = raw, grant
        stated, now = self._believed.enrolment, utc(self._clock())
        if (stated.federation, stated.subject.name, stated.subject.role) != (
            me.pins.federation,
            self._server,
            Role.SERVER,
        ):
            raise UnknownClient("wrong-server", "the server's grant is for another name, role or federation")
        if now >= stated.expires:
            raise UnknownClient("expired", f"the enrolment of {self._server} has expired")
        return Directory({self._server: stated.signing})

    def _keep_receipt(self, directory: Directory, heard: Heard) -> None:
        said, receipt = self.receipts.last, heard.question.receipt
        if said is None or not receipt:
            return
        try:
            open_receipt(receipt, directory, self._server, said.place, said.head)
        except AdmissionError:
            self.receipts.refuse()  # it is for an answer that this client no longer knows, or false: it proves nothing
        else:
            self.receipts.keep(receipt)


def _require_model(heard: Heard, payload: memoryview) -> None:
    header, _ = open_frame(payload, "broadcast", max_body_bytes=len(payload))
    asked = heard.question
    if (header.run, header.round, header.model) != (asked.run, asked.round, asked.model):
        raise Inconsistent("the server signs for another run, round or model than it broadcasts")


class SignedNode:
    """A node that answers nobody but its server, and signs its answers.

    Args:
        inner: the client behind it.
        side: its half of the signed wire.
        sealed: the inner node is behind a seal: the stages after the broadcast are the seal's, which signs them itself.

    Guarantees:
        Those of `ClientSide`. A request that comes again gets the same answer again, as long as no other came between;
        the inner node works once.

    Raises:
        Replay (RF204): a request that came again whose answer is no longer here ("answered").
        Incompatible (RF103): the inner node has another name than is enrolled.
    """

    def __init__(self, inner: Node, side: ClientSide, *, sealed: bool = False) -> None:
        if inner.client != side.client:
            raise Incompatible(f"the node is {inner.client}, the identity is {side.client}'s")
        self.client = inner.client
        self._inner, self._side, self._sealed = inner, side, sealed
        self._last: tuple[bytes, bytes] = (b"", b"")

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Verify, let the inner node answer, sign."""
        if passes(stage, sealed=self._sealed):
            return self._inner.handle(stage, payload)
        asked = self._side.open(stage, payload)
        if asked.again:
            if self._last[0] != asked.place.request:
                raise Replay("answered", "this request was answered before")
            return self._last[1]
        self._last = (b"", b"")
        body = b"" if stage == RECEIPT_STAGE else self._inner.handle(stage, bytes(asked.payload))
        answer = self._side.answer(asked, body)
        self._last = (asked.place.request, answer)
        return answer


class SignedClients:
    """The client halves around an exchange whose clients live in this process: what is signed is signed for real.

    Args:
        inner: where they work; attackers in it sign as every other client does.
        sides: one for each.
        sealed: as for `SignedNode`.

    Does not protect: all of them share one process. It runs the real protocol and simulates the trust.
    """

    def __init__(self, inner: Exchange, sides: Mapping[ClientId, ClientSide], *, sealed: bool = False) -> None:
        self._inner, self._sides, self._sealed = inner, sides, sealed

    def members(self) -> tuple[ClientId, ...]:
        """The inner exchange's."""
        return self._inner.members()

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Open each request, let the inner exchange answer, sign each answer."""
        if passes(stage, sealed=self._sealed):
            return self._inner.exchange(stage, payloads, deadline_s)
        out: dict[ClientId, Outcome] = {}
        asked: dict[ClientId, Asked] = {}
        contents: dict[bytes, bytes] = {}
        for client in payloads:
            try:
                opened = self._sides[client].open(stage, payloads[client])
                if opened.again:
                    raise Replay("answered", "this request was answered before")
            except (RingfortError, KeyError) as error:
                out[client] = Failure(client, str(error))
                continue
            if opened.content not in contents:  # one copy of a broadcast for all
                contents[opened.content] = bytes(opened.payload)
            asked[client] = replace(opened, payload=memoryview(b""))
        if stage == RECEIPT_STAGE:
            return out | {client: Reply(client, self._sides[client].answer(asked[client], b"")) for client in asked}
        bodies = {client: contents[opened.content] for client, opened in asked.items()}
        for client, reply in self._inner.exchange(stage, bodies, deadline_s).items():
            if isinstance(reply, Reply) and client in asked:
                out[client] = Reply(client, self._sides[client].answer(asked[client], reply.body))
            else:
                out[client] = reply
        return out

    def close(self) -> None:
        """Close the inner exchange."""
        self._inner.close()
