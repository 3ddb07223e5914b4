"""Everything in Ringfort that reads bytes from a network or a disk, under one name each, and what all must keep.

A parser returns a value or raises a RingfortError; it never raises anything else, never takes more than a small
multiple of its input in memory, and ends. Tests try it with drawn inputs, `python -m benchmarks.fuzz` with inputs that
a coverage-guided fuzzer finds.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from ringfort.core.errors import RingfortError

if TYPE_CHECKING:
    from ringfort.core.keys import SigningKey
    from ringfort.core.seal import Seal
    from ringfort.testing.one_message import Node, StoppedRound

__all__ = ["PARSERS", "check_parser", "seeds", "stopped_round"]

Parser = Callable[[bytes], object]
_MULTIPLE: Final = 64
_ALLOWANCE_BYTES: Final = 4 << 20
_LONGEST_SEED: Final = 1 << 13
_ON: Final = 128


def check_parser(parser: Parser, data: bytes, *, memory: bool = False) -> bool:
    """Whether the parser took the input.

    Args:
        parser: one of `PARSERS`.
        data: anything.
        memory: measure what it takes, too; several times slower.

    Raises:
        AssertionError: it took too much memory. Whatever it raised beside RingfortError: a bug.
    """
    if memory:
        tracemalloc.start()
    try:
        parser(data)
    except RingfortError:
        return False
    finally:
        if memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > _ALLOWANCE_BYTES + _MULTIPLE * len(data):
                raise AssertionError(f"{peak} bytes of memory for {len(data)} of input")
    return True


def _update() -> Parser:
    from ringfort.core.tensors import Schema
    from ringfort.core.wire import open_frame, verify_body

    schema = Schema.of({"bias": (2,), "weight": (2, 3)})

    def parse(data: bytes) -> object:
        header, body = open_frame(data, "update", max_body_bytes=schema.encoded_bytes)
        verify_body(header, body)
        return schema.decode(body)

    return parse


def _gate() -> Parser:
    import numpy as np

    from ringfort.core.ports import Reply
    from ringfort.core.tensors import Schema, digest_of
    from ringfort.core.values import client_id
    from ringfort.rounds.gate import Gate, RoundPlan

    schema = Schema.of({"bias": (2,), "weight": (2, 3)})
    name = client_id("ada")
    plan = RoundPlan("5e1f00d5ca1ab1e0b0a710adc0ffee00", 7, (name,), digest_of(b"model"), schema, None)
    gate = Gate(max_norm=10.0, max_examples=1000)

    def parse(data: bytes) -> object:
        admitted = gate.admit(plan, [Reply(name, data)])
        for update in admitted.updates:
            assert np.isfinite(update.delta).all()  # noqa: S101 - the property under test
        return admitted

    return parse


def _broadcast() -> Parser:
    from ringfort.core.tensors import Schema
    from ringfort.core.wire import Broadcast

    schema = Schema.of({"bias": (2,), "weight": (2, 3)})
    return lambda data: Broadcast.decode(data, schema)


def _tensors() -> Parser:
    from ringfort.core.tensors import Schema

    return Schema.of({"bias": (2,), "weight": (2, 3)}).decode


def _envelope() -> Parser:
    from ringfort.core.envelope import Slot, open_envelope
    from ringfort.core.keys import Directory
    from ringfort.core.values import client_id

    directory = Directory({client_id("ada"): _key().public})
    slot = Slot("run", 1, "stage", bytes(32))
    return lambda data: open_envelope(data, directory, client_id("ada"), slot, max_body_bytes=1 << 16)


def _key() -> SigningKey:
    from ringfort.core.keys import SigningKey

    return SigningKey(bytes(range(32)))


def _arrays() -> Parser:
    from ringfort.core.arrays import decode_arrays

    return decode_arrays


def _decisions() -> Parser:
    from ringfort.rounds.decisions import parse_decisions

    return lambda data: parse_decisions(data[: data.rfind(b"\n") + 1])


def _npz() -> Parser:
    from io import BytesIO
    from pathlib import Path

    from ringfort.data.npz import read_npz

    return lambda data: read_npz(BytesIO(data), Path("rows.npz"))


def _packed() -> Parser:
    from ringfort.core.values import client_id
    from ringfort.engine.packed import unpack

    return lambda data: unpack(client_id("ada"), data, 1 << 16)


def _records() -> Parser:
    from ringfort.core.lines import whole_lines
    from ringfort.rounds.record import RoundRecord

    return lambda data: [RoundRecord.from_line(line) for line in whole_lines(data)]


def _attempts() -> Parser:
    from ringfort.core.lines import whole_lines
    from ringfort.rounds.attempts import Attempt

    return lambda data: [Attempt.from_line(line) for line in whole_lines(data)]


def _checkpoints() -> Parser:
    from ringfort.core.lines import whole_lines
    from ringfort.rounds.checkpoint import Checkpoint

    def parse(data: bytes) -> object:
        found = [Checkpoint.from_line(line) for line in whole_lines(data)]
        for checkpoint in found:
            checkpoint.verify()
        return found

    return parse


def _proof() -> Parser:
    from ringfort.rounds.log import check

    public = _key().public
    return lambda data: check(data, public)


def _ledger() -> Parser:
    from ringfort.privacy.ledger import parse_account

    return parse_account


def _registry() -> Parser:
    from ringfort.identity.chain import Head, read_lines

    public = _key().public
    return lambda data: read_lines(data, Head(), public)


def _request() -> Parser:
    from ringfort.identity import Request

    return Request.decode


def _grant() -> Parser:
    from ringfort.identity import Grant

    return Grant.decode


def _letter() -> Parser:
    from ringfort.identity import Letter

    return Letter.decode


def _equivocation() -> Parser:
    from ringfort.identity import EquivocationProof

    return EquivocationProof.decode


def _invitation() -> Parser:
    from ringfort.identity import Invitation
    from ringfort.identity.documents import read_document

    return lambda data: Invitation.from_json(read_document(data, max_bytes=1 << 16))


def _policy() -> Parser:
    from ringfort.identity import JoinPolicy
    from ringfort.identity.documents import read_document

    return lambda data: JoinPolicy.from_json(read_document(data, max_bytes=1 << 16))


def _recipe() -> Parser:
    from ringfort.app.recipe import parse_toml
    from ringfort.core.errors import InvalidValue

    def parse(data: bytes) -> object:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise InvalidValue("not UTF-8") from error
        return parse_toml(text)

    return parse


def _roster() -> Parser:
    from ringfort.secagg.roster import unpack

    return unpack


def _bundle() -> Parser:
    from ringfort.secagg.shared.messages import decode_round, unbundle, unframe

    def parse(data: bytes) -> object:
        first, rest = unframe(data)
        return decode_round(first), unbundle(rest)

    return parse


def _opening() -> Parser:
    from ringfort.secagg.shared.opening import Opening

    return lambda data: Opening.decode(data, 3)


def _dealt_round() -> Parser:
    from ringfort.secagg.encrypted.messages import decoded_round, unframed

    return lambda data: decoded_round(unframed(data)[0])


def _ciphertext() -> Parser:
    from ringfort.secagg.threshold.rlwe import Rlwe

    scheme = Rlwe(parties=2, statistical_bits=40)
    adder = scheme.adder(8, (bytes(32), bytes(32)), bytes(32))
    return lambda data: adder.part(memoryview(data))


def _sealed(name: str) -> Parser:
    """One message of a sealed round is replaced, for whoever was to hear it: see `testing.one_message`.

    Byte 0 says which, byte 1 which part of it, byte 2 what is done to that part (and, from 128 to 133, that the
    round is then taken to its end); the rest is what it is done with. Whatever is signed is signed again by whoever
    signed it, and what was sealed for somebody is sealed again: whoever holds an enrolled key can do that.
    """
    from ringfort.testing.one_message import HOWS

    stopped = stopped_round(name)

    def parse(data: bytes) -> object:
        head, rest = data[:3].ljust(3, b"\0"), data[3:]
        point = stopped.points[head[0] % len(stopped.points)]
        path, how = point.paths[head[1] % len(point.paths)], HOWS[head[2] % _ON % len(HOWS)]
        stage = stopped.stages[(rest or b"\0")[0] % len(stopped.stages)] if how == "stage" else None
        message = _forged(point.message, path, how, rest)
        return stopped.hand(point, message, on=_ON <= head[2] < _ON + len(HOWS), stage=stage)

    return parse


def _forged(message: Node, path: tuple[str, ...], how: str, rest: bytes) -> bytes:
    """The message with one part of it replaced, spliced, dropped, renamed, or put in another's place."""
    if how in ("drop", "rename") and path and message.at(path[:-1]).free:

        def refilled(parent: Node) -> bytes:
            inner = {name: part.raw for name, part in parent.parts.items()}
            moved = inner.pop(path[-1])
            if how == "rename":
                inner[rest[:64].decode("latin-1")] = moved
            assert parent.join is not None  # noqa: S101  # it has parts
            return parent.join(inner)

        return message.altered(path[:-1], refilled)
    if how == "copy":
        others = message.paths()
        other = message.at(others[(rest or b"\0")[0] % len(others)]).raw
        return message.altered(path, lambda _: other)
    if how == "splice":
        at, cut, more = int.from_bytes(rest[:3], "big"), (rest[3:4] or b"\0")[0], rest[4:]

        def spliced(part: Node) -> bytes:
            start = at % (len(part.raw) + 1)
            return part.raw[:start] + more + part.raw[start + cut :]

        return message.altered(path, spliced)
    return message.altered(path, lambda part: rest if how == "replace" else part.raw)


@cache
def stopped_round(name: str) -> StoppedRound:
    """The round behind the parser "seal-" + name, or of that name: kept, since all tries share it."""
    name = name.removeprefix("seal-")
    import numpy as np

    from ringfort.core.seal import Contribution
    from ringfort.core.values import client_id
    from ringfort.secagg.encrypted import Encrypted
    from ringfort.secagg.grouped import Grouped
    from ringfort.secagg.masked import Masked
    from ringfort.secagg.shared import Shared
    from ringfort.secagg.threshold import ThresholdEncrypted
    from ringfort.testing.one_message import Remembering, StoppedRound
    from ringfort.testing.sealed_round import Parties, mean_of

    seals: dict[str, Callable[[], Seal]] = {
        "masked": lambda: Masked(1.0, 20, 0.25, 0.25, 3, max_weight=5, rotate=True),
        "grouped": lambda: Grouped(3, 100, 1.0, 20, 0.0, 0.0, 3),
        "shared": lambda: Shared(1.0, 15, 3, max_weight=0.5),
        "encrypted": lambda: Encrypted(1.0, 20, min_cohort=3, max_weight=5),
        "threshold": lambda: ThresholdEncrypted(1.0, 20, min_cohort=3, parties=2, statistical_bits=40),
    }
    names = tuple(client_id(f"c{i}") for i in range(6 if name == "grouped" else 4))
    values = np.linspace(-0.2, 0.2, 8, dtype=np.float32)
    parties = Parties.of(seals[name](), names, mean_of, Remembering)
    return StoppedRound(parties, {client: Contribution(values, 1) for client in names})


PARSERS: Final[Mapping[str, Callable[[], Parser]]] = {
    "update": _update,
    "gate": _gate,
    "broadcast": _broadcast,
    "tensors": _tensors,
    "envelope": _envelope,
    "arrays": _arrays,
    "records": _records,
    "attempts": _attempts,
    "decisions": _decisions,
    "npz": _npz,
    "packed": _packed,
    "checkpoints": _checkpoints,
    "proof": _proof,
    "ledger": _ledger,
    "registry": _registry,
    "request": _request,
    "grant": _grant,
    "letter": _letter,
    "equivocation": _equivocation,
    "invitation": _invitation,
    "policy": _policy,
    "recipe": _recipe,
    "roster": _roster,
    "bundle": _bundle,
    "opening": _opening,
    "dealt-round": _dealt_round,
    "ciphertext": _ciphertext,
    "seal-masked": lambda: _sealed("masked"),
    "seal-grouped": lambda: _sealed("grouped"),
    "seal-shared": lambda: _sealed("shared"),
    "seal-encrypted": lambda: _sealed("encrypted"),
    "seal-threshold": lambda: _sealed("threshold"),
}
"""Name -> makes the parser. Making one imports what it needs."""


def seeds(name: str) -> list[bytes]:
    """Well-formed inputs of a parser, made here: a place to start from. Empty where `tests/vectors` has better ones."""
    if name.startswith("seal-"):
        return _seal_seeds(name.removeprefix("seal-"))
    if name == "envelope":
        from ringfort.core.envelope import Slot, seal_envelope
        from ringfort.core.values import client_id

        return [seal_envelope(_key(), client_id("ada"), Slot("run", 1, "stage", bytes(32)), b"body")]
    if name == "arrays":
        import numpy as np

        from ringfort.core.arrays import encode_arrays

        return [encode_arrays({"a": np.arange(3), "b": np.ones((2, 2), np.float32)})]
    if name in ("checkpoints", "proof"):
        return _log_seeds(name)
    if name == "attempts":
        return [_attempt_seed()]
    if name in ("decisions", "npz", "packed"):
        return [_plain_seed(name)]
    if name == "roster":
        from ringfort.core.values import client_id
        from ringfort.secagg.roster import pack

        return [pack({client_id("ada"): b"hello", client_id("bob"): b""})]
    if name in ("bundle", "dealt-round"):
        from ringfort.core.seal import SealedRound
        from ringfort.core.values import client_id
        from ringfort.secagg.encrypted.messages import encoded_round
        from ringfort.secagg.shared.messages import bundle, encode_round, framed

        of = SealedRound("run", 1, "ab" * 32, 8)
        if name == "bundle":
            return [framed(encode_round(of), bundle({client_id("ada"): b"x"}))]
        return [framed(encoded_round(of), b"rest")]
    if name == "invitation":
        from datetime import UTC, datetime

        from ringfort.core.files import canonical_json
        from ringfort.core.values import client_id
        from ringfort.identity import Invitation, Quota, Role, Subject

        guest = Subject(client_id("ada"), "clinic", Role.SERVER, ("ada.example.org",))
        return [canonical_json(Invitation("ab" * 32, guest, Quota(2, 100), datetime(2030, 1, 1, tzinfo=UTC)).to_json())]
    if name == "policy":
        from datetime import timedelta

        from ringfort.core.files import canonical_json
        from ringfort.identity import JoinPolicy

        hour = timedelta(hours=1)
        return [canonical_json(JoinPolicy(3, hour, hour, hour * 24).to_json())]
    return []


def _seal_seeds(name: str) -> list[bytes]:
    """Every part of every message, as it is or with one bit of it turned, and every way to alter one."""
    from ringfort.testing.one_message import HOWS

    stopped, out = stopped_round(name), list[bytes]()
    for i, point in enumerate(stopped.points):
        for j, path in enumerate(point.paths):
            raw = point.message.at(path).raw
            if len(raw) <= _LONGEST_SEED:
                out.append(bytes([i, j, 0]) + raw)
            out.append(bytes([i, j, 1, 0, 0, 0, 1, raw[0] ^ 1 if raw else 1]))
        for how in range(2, len(HOWS)):
            out.append(bytes([i, 1, how, 0]))
        out.append(bytes([i, 0, _ON + 1, 0, 0, 0, 0]))
    return out


def _plain_seed(name: str) -> bytes:
    from io import BytesIO

    import numpy as np

    from ringfort.core.files import canonical_json
    from ringfort.core.ports import Reply
    from ringfort.core.values import client_id
    from ringfort.engine.packed import pack
    from ringfort.rounds.decisions import Decision

    if name == "decisions":
        return canonical_json({"v": 1, **Decision("release", client_id("ada"), "why", "bob").to_json()}) + b"\n"
    if name == "packed":
        return pack(Reply(client_id("ada"), b"body"))
    out = BytesIO()
    np.savez(out, inputs=np.zeros((2, 3), np.float32), labels=np.array([0, 1]))
    return out.getvalue()


def _attempt_seed() -> bytes:
    from ringfort.core.ports import Failure
    from ringfort.core.values import Refusal, client_id
    from ringfort.rounds.attempts import Attempt

    ada, bob = client_id("ada"), client_id("bob")
    refused, failed = Refusal(ada, "RF201", "size", "too large"), Failure(bob, "ValueError: x", "Traceback")
    return Attempt("run", 1, "ab" * 32, (ada, bob), "RF604", "nobody", (refused,), (failed,), (), ("why",)).line()


def _log_seeds(name: str) -> list[bytes]:
    from datetime import UTC, datetime

    from ringfort.rounds.checkpoint import Checkpoint
    from ringfort.rounds.log import as_document
    from ringfort.rounds.merkle import Tree, consistency_path, inclusion_path
    from ringfort.rounds.record import RoundRecord

    record = RoundRecord("run", 1, "", (), "Mean()", "", "", "", (), (), (), (), {"accuracy": 0.5}, "")
    leaves = [bytes(32), bytes.fromhex(record.digest), bytes(32)]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = [Checkpoint.sign(_key(), "run", n, Tree(leaves[:n]).root, "", now) for n in (1, 3)]
    if name == "checkpoints":
        return [made[0].line() + made[1].line()]
    path, steps = inclusion_path(leaves, 1), consistency_path(leaves, 1)
    shown = {"record": {**record.to_json(), "digest": record.digest}, "path": [step.hex() for step in path]}
    grown = {"old": made[0].to_json(), "path": [step.hex() for step in steps]}
    return [
        as_document({"v": 1, "kind": "inclusion", "checkpoint": made[1].to_json(), **shown}),
        as_document({"v": 1, "kind": "consistency", "checkpoint": made[1].to_json(), **grown}),
    ]
