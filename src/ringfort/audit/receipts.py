"""A run's history from the folders that its parties kept: whose evidence was there, and what it shows together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ringfort.audit.history import Answer, History, Kept, Keys, check_history, read_kept, read_taken
from ringfort.core.errors import BrokenChain, RingfortError
from ringfort.core.values import ClientId, client_id
from ringfort.privacy import Account, read_account
from ringfort.rounds.journal import read_records

__all__ = ["Checked", "check_run"]

_LEDGER: Final = "privacy.jsonl"
_LEDGERS: Final = "privacy"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was there to check, and what came of it.

    Args:
        run: its name.
        rounds: committed.
        clients: everybody who was asked, who answered, or whose answers were given.
        checked: those of them whose own answers were read.
        missing: the others -> why.
        short: clients that kept fewer answers than the server shows -> how many are not among theirs.
        ledgers: privacy ledgers that were compared with the releases.
        history: what the rest shows.
    """

    run: str
    rounds: int
    clients: tuple[ClientId, ...]
    checked: tuple[ClientId, ...]
    missing: Mapping[ClientId, str]
    short: Mapping[ClientId, int]
    ledgers: int
    history: History

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "history"}
        counts = {name: getattr(self.history, name) for name in self.history.__slots__ if name != "faults"}
        lists = {name: list(plain[name]) for name in ("clients", "checked")}
        maps = {name: dict(plain[name]) for name in ("missing", "short")}
        return {**plain, **lists, **maps, **counts, "faults": [asdict(fault) for fault in self.history.faults]}


def check_run(run: Path, keys: Keys, kept: Mapping[ClientId, Path]) -> Checked:
    """Compare what the server wrote down with what its clients kept.

    Args:
        run: the server's run folder.
        keys: everybody's, from a registry that was verified.
        kept: the folders in which clients kept their answers, by name.

    Guarantees:
        Those of `check_history`, for the clients in `checked`. Of everybody else it says that nothing was compared:
        a folder that cannot be read is missing, and stops the check of no other.

    Raises:
        BrokenChain (RF701): the journal's chain does not hold, or the server has no list of what was signed.

    Does not protect against: clients and a server that lie together; answers that a client kept and did not show.

    Cost: three Ed25519 verifications for each answer: about 1 ms of CPU time, however many clients there are.
    """
    records = read_records(run)[0]
    if not records:
        raise BrokenChain(f"{run} holds no round record")
    taken = read_taken(run)
    read: dict[ClientId, Kept] = {}
    missing: dict[ClientId, str] = {}
    for name, folder in kept.items():
        try:
            read[name] = read_kept(name, folder)
        except BrokenChain as error:
            missing[name] = error.message
    asked = {name for record in records for name in record.cohort} | {answer.client for answer in taken}
    for name in asked - read.keys() - missing.keys():
        missing[name] = "nothing that it kept was given"
    ledger = _account(run / _LEDGER) if (run / _LEDGER).exists() else None
    ledgers = {client_id(path.stem): _account(path) for path in sorted((run / _LEDGERS).glob("*.jsonl"))}
    history = check_history(run, taken, read.values(), keys, ledger=ledger, ledgers=ledgers)
    short = {name: count for name, one in sorted(read.items()) if (count := _short(one, taken, records[0].run))}
    return Checked(
        run=records[0].run,
        rounds=records[-1].round,
        clients=tuple(sorted(asked | kept.keys())),
        checked=tuple(sorted(read)),
        missing=dict(sorted(missing.items())),
        short=short,
        ledgers=len(ledgers) + (ledger is not None),
        history=history,
    )


def _short(kept: Kept, taken: tuple[Answer, ...], run: str) -> int:
    """Answers to broadcasts that the server shows and the client does not."""
    own = {said.head for said, _ in kept.answers}
    shown = {
        answer.said.head
        for answer in taken
        if (answer.client, answer.said.place.run, answer.said.place.stage) == (kept.client, run, "train")
    }
    return len(shown - own)


def _account(path: Path) -> Account:
    try:
        return read_account(path)
    except RingfortError as error:
        raise BrokenChain(f"{path}: {error.message}") from error
