"""The ledger: what was spent, in a hash chain, written before anything leaves. It never counts too little."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ringfort.core.checks import positive, whole
from ringfort.core.errors import (
    BrokenChain,
    BudgetExceeded,
    InvalidValue,
    OutputUnwritable,
    RingfortError,
    UnknownName,
)
from ringfort.core.files import canonical_json
from ringfort.core.lines import LineFile, append_line, digested, leaf_digest, whole_lines
from ringfort.core.values import ClientId, client_id
from ringfort.privacy.accountant import Spend, check_countable, spend
from ringfort.privacy.events import Event, event_from_json, event_to_json
from ringfort.privacy.terms import Neighbouring, Unit

__all__ = ["Account", "Budget", "Entry", "Ledger", "Receipt", "parse_account", "read_account"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent, and on what understanding.

    Args:
        epsilon: the most that all releases together may cost any one unit, > 0.
        delta: the failure probability that epsilon is stated at, in (0, 1).
        neighbouring: which data sets are to be hard to tell apart.
        unit: whose secret it is.
    """

    epsilon: float
    delta: float
    neighbouring: Neighbouring
    unit: Unit

    def __post_init__(self) -> None:
        positive(epsilon=self.epsilon, delta=self.delta)
        if self.delta >= 1:
            raise InvalidValue(f"delta must be below 1, got {self.delta}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "neighbouring": self.neighbouring.value,
            "unit": self.unit.value,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """One charge.

    Args:
        round: the round it was for; -1 for a line that a crash cut.
        counts: how often each event of the tariff was charged.
        clients: who was in the release; None charges everybody, named or not.
    """

    round: int
    counts: Mapping[str, int]
    clients: tuple[ClientId, ...] | None


class _Tally:
    """How often each event was charged: to everybody, and to those who were charged by name."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._everybody: Counter[str] = Counter()
        self._named: dict[ClientId, Counter[str]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        if entry.clients is None:
            self._everybody.update(entry.counts)
        for name in entry.clients or ():
            self._named.setdefault(name, Counter()).update(entry.counts)

    def of(self, client: ClientId | None) -> Counter[str]:
        """What one client was charged; None stands for whoever never took part by name."""
        return self._everybody + self._named.get(client, Counter()) if client is not None else Counter(self._everybody)

    def clients(self) -> tuple[ClientId, ...]:
        return tuple(sorted(self._named))

    def different(self, names: Iterable[ClientId | None]) -> Iterator[Counter[str]]:
        """The counts that any of these has, each once: most clients spend alike."""
        yield from (Counter(dict(counts)) for counts in {frozenset(self.of(name).items()) for name in names})


@dataclass(frozen=True)
class Account:
    """What a ledger says: verified, and at rest.

    Args:
        run: whose ledger it is.
        budget: what may be spent.
        tariff: every event that may be charged, by name.
        entries: every charge, in order.
        head: the digest of the last line; keep it elsewhere to notice a ledger that was cut.
        at_once: the most of each event that one charge may hold.
    """

    run: str
    budget: Budget
    tariff: Mapping[str, Event]
    entries: tuple[Entry, ...]
    head: str
    at_once: int = 1

    def counts(self, client: ClientId | None = None) -> Counter[str]:
        """What was charged to a client, or, without one, to somebody who never took part by name."""
        return _Tally(self.entries).of(client)

    def clients(self) -> tuple[ClientId, ...]:
        """Everyone who was charged by name."""
        return _Tally(self.entries).clients()

    def spent(self, client: ClientId | None = None) -> Spend:
        """What one client spent."""
        return self._cost(self.counts(client))

    def worst(self) -> Spend:
        """What the client that spent most did; the run's epsilon."""
        return self._worst(_Tally(self.entries))

    def curve(self) -> tuple[tuple[int, Spend], ...]:
        """The run's epsilon after each charged round."""
        points: dict[int, Spend] = {}
        tally = _Tally()
        for entry in self.entries:
            tally.add(entry)
            points[entry.round] = self._worst(tally)
        return tuple(points.items())

    def _worst(self, tally: _Tally) -> Spend:
        different = tally.different((None, *tally.clients()))
        return max((self._cost(counts) for counts in different), key=lambda s: s.epsilon)

    def _cost(self, counts: Counter[str]) -> Spend:
        charges = [(self.tariff[name], count) for name, count in counts.items()]
        return spend(charges, self.budget.neighbouring, self.budget.delta)

    def to_json(self) -> dict[str, Any]:
        """What `ringfort privacy show` prints: the budget, the spend, the worst client, the number of charges."""
        worst = self.worst()
        return {
            "run": self.run,
            "budget": self.budget.to_json(),
            "spent": worst.to_json(),
            "left": max(0.0, self.budget.epsilon - worst.epsilon) if math.isfinite(worst.epsilon) else 0.0,
            "charges": len(self.entries),
            "torn": sum(entry.round < 0 for entry in self.entries),
            "clients_by_name": len(self.clients()),
            "tariff": {name: event_to_json(event) for name, event in self.tariff.items()},
            "head": self.head,
        }


class Receipt:
    """Proof that a release was paid for. Good for one release of exactly these events; a mechanism asks for it.

    `Ledger.charge` makes it. It guards against mistakes, not against a program that makes its own.
    """

    __slots__ = ("_used", "events", "head", "round")

    def __init__(self, round: int, events: Mapping[Event, int], head: str) -> None:
        self.round, self.events, self.head, self._used = round, dict(events), head, False

    def redeem(self, event: Event, count: int = 1) -> str:
        """Use it up; the digest of the ledger line that paid.

        Raises:
            BudgetExceeded (RF401): used before, or paid for something else.
        """
        if self._used:
            raise BudgetExceeded("this receipt was used for another release: charge the ledger for each one")
        if self.events != {event: count}:
            raise BudgetExceeded("the ledger was charged for another release than this one")
        self._used = True
        return self.head


class Ledger:
    """What a run, or a client, spends its privacy on: append-only lines of JSON, each naming the digest before it.

    Args:
        path: the file. A new one is begun, an old one continued.
        run: the run's name; an old file must have the same.
        budget: as above; an old file must have the same.
        tariff: name -> event: everything that may ever be charged here. An old file must have the same.
        at_once: the most of each event that one charge may hold, >= 1. An old file must have the same.

    Guarantees:
        When `charge` returns, the charge survives kill -9 and a power cut (as far as the disk honours fsync). Nothing
        was released before: mechanisms want the receipt. A charge whose release never happened stays spent.
        A line that a crash cut is counted, to everybody, as `at_once` of each event in the tariff: its release can only
        have happened if the disk lied about writing it, but then it did cost.
        One writer at a time: a second one is refused.

    Raises:
        BudgetExceeded (RF401), BrokenChain (RF701), OutputUnwritable (RF107), InvalidValue (RF104).

    Does not protect against: whoever can rewrite the file, or start a new one. Keep the head digest elsewhere.

    Cost: one fsync and, per new count of events, one call of the accountant (about 30 ms) a charge.
    """

    def __init__(self, path: Path, run: str, budget: Budget, tariff: Mapping[str, Event], *, at_once: int = 1) -> None:
        if not tariff:
            raise InvalidValue("a ledger needs at least one event that may be charged")
        whole(1, at_once=at_once)
        for event in tariff.values():
            check_countable(event, budget.neighbouring)
        self._file = LineFile(path, "ledger", private=True, keep_cut=True)
        with self._file.reading():
            self._resume(Account(run, budget, dict(tariff), (), "", at_once))

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return self._terms.budget

    @property
    def account(self) -> Account:
        """All that was charged so far."""
        return replace(self._terms, entries=tuple(self._entries))

    def worst(self) -> Spend:
        """What the client that spent most did; the cost does not grow with the number of charges."""
        return self._terms._worst(self._tally)

    def charge(self, round: int, counts: Mapping[str, int], clients: Sequence[ClientId] | None) -> Receipt:
        """Write down what a release costs, before it is made.

        Args:
            round: the round it belongs to, from 0.
            counts: how often each event of the tariff happens in it; {"update": 1} is usual.
            clients: who is in it, where that is public; None charges everybody, and must be used where the cohort's
                secrecy is what the accountant counts on (Poisson sampling, fixed cohorts).

        Raises:
            BudgetExceeded (RF401): it would cost somebody more than the budget. Nothing was written.
            OutputUnwritable (RF107): it could not be written. Nothing may be released.
        """
        whole(0, round=round)
        for name, count in counts.items():
            if name not in self._terms.tariff:
                raise UnknownName.of("event in this ledger's tariff", name, self._terms.tariff)
            whole(1, self._terms.at_once, count=count)
        if not counts or (clients is not None and not clients):
            raise InvalidValue("a charge needs at least one event, and None or at least one client")
        entry = Entry(round, dict(counts), None if clients is None else tuple(sorted(set(clients))))
        self._check(entry)
        self._append({"kind": "charge", **_entry_json(entry)}, entry)
        events: Counter[Event] = Counter()
        for name, count in counts.items():
            events[self._terms.tariff[name]] += count
        return Receipt(round, events, self._terms.head)

    def _check(self, entry: Entry) -> None:
        now, tally = self._terms, self._tally
        names = (None, *tally.clients()) if entry.clients is None else entry.clients
        for counts in tally.different(names):
            cost = now._cost(counts + Counter(entry.counts))
            if not cost.epsilon <= now.budget.epsilon:
                raise BudgetExceeded(
                    f"round {entry.round} would bring epsilon to {cost.epsilon:.4g} at delta {cost.delta:g}, the "
                    f"budget is {now.budget.epsilon:g}: nothing was released"
                )

    def _resume(self, fresh: Account) -> None:
        data = self._file.path.read_bytes()
        opening = _opening(fresh)
        if b"\n" not in data:  # new, or cut before its first line was whole: nothing was charged under it
            self._take(fresh)
            self._append(opening)
            return
        found, torn = _read(data)
        if _opening(found) != opening:
            raise InvalidValue(
                f"{self._file.path} is the ledger of another run, budget or tariff: continue it with its own, "
                "or choose another file"
            )
        self._file.resume(len(data) - len(torn))
        if not torn:
            self._take(found)
            return
        self._take(replace(found, entries=found.entries[:-1]))
        cut = {"kind": "torn", "bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        self._append(cut, found.entries[-1])

    def _take(self, found: Account) -> None:
        self._terms, self._entries, self._tally = replace(found, entries=()), [*found.entries], _Tally(found.entries)

    def _append(self, fields: dict[str, Any], entry: Entry | None = None) -> None:
        """Write a line over whatever a crash left behind the last whole one; until its line feed it counts as cut."""
        fields = {**fields, "prev": self._terms.head}
        append_line(self._file, digested(fields))
        if entry is not None:
            self._entries.append(entry)
            self._tally.add(entry)
        self._terms = replace(self._terms, head=leaf_digest(fields))

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_account(path: Path) -> Account:
    """Read and verify a ledger without writing to it. A cut last line is counted, as `Ledger` would.

    Raises:
        BrokenChain (RF701): names the first line that is not what was written.
        OutputUnwritable (RF107): there is no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OutputUnwritable(f"cannot read {path}: {error.strerror or error}") from error
    return parse_account(data)


def parse_account(data: bytes) -> Account:
    """The same for the bytes of a ledger.

    Raises:
        BrokenChain (RF701): as above.
    """
    return _read(data)[0]


def _opening(account: Account) -> dict[str, Any]:
    priced = {name: event_to_json(event) for name, event in account.tariff.items()}
    more = {} if account.at_once == 1 else {"at_once": account.at_once}
    return {"v": 1, "kind": "open", "run": account.run, "budget": account.budget.to_json(), "tariff": priced, **more}


def _entry_json(entry: Entry) -> dict[str, Any]:
    clients = None if entry.clients is None else list(entry.clients)
    return {"round": entry.round, "counts": dict(entry.counts), "clients": clients}


def _read(data: bytes) -> tuple[Account, bytes]:
    """The account, and the bytes of a cut last line, which is its last entry then."""
    terms: Account | None = None
    entries: list[Entry] = []
    head = ""
    for number, line in enumerate(whole_lines(data)):
        try:
            fields = _fields(line, head)
            head = fields["prev"]
            if terms is None:
                terms = _terms(fields)
            else:
                entries.append(_charged(terms, fields))
        except RingfortError as error:
            raise BrokenChain(f"line {number + 1} of the ledger: {error.message}") from error
    if terms is None:
        raise BrokenChain("the ledger has no first line")
    torn = data[data.rfind(b"\n") + 1 :]
    if torn:
        entries.append(_torn(terms))
    return replace(terms, entries=tuple(entries), head=head), torn


def _torn(account: Account) -> Entry:
    return Entry(-1, dict.fromkeys(account.tariff, account.at_once), None)


def _fields(line: bytes, head: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or canonical_json(value) != line:
            raise BrokenChain("it is not canonical JSON")
        digest = value.pop("digest")
    except (ValueError, KeyError, RecursionError) as error:
        raise BrokenChain("it is not a line of a ledger") from error
    if value.get("prev") != head or digest != leaf_digest(value):
        raise BrokenChain("it does not continue the chain: a line was edited, dropped, reordered or inserted")
    return {**value, "prev": digest}


def _terms(fields: dict[str, Any]) -> Account:
    """An account without an entry, from the first line."""
    try:
        if (fields["v"], fields["kind"]) != (1, "open"):
            raise BrokenChain("a ledger of version 1 begins with its budget")
        budget = fields["budget"]
        terms = (Neighbouring(budget["neighbouring"]), Unit(budget["unit"]))
        tariff = {str(name): event_from_json(event) for name, event in fields["tariff"].items()}
        at_once = fields.get("at_once", 1)
        whole(1, at_once=at_once)
        return Account(fields["run"], Budget(budget["epsilon"], budget["delta"], *terms), tariff, (), "", at_once)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenChain("it is not a line of a ledger") from error


def _charged(terms: Account, fields: dict[str, Any]) -> Entry:
    """The entry in any other line."""
    try:
        if fields["kind"] == "torn":
            return _torn(terms)
        if fields["kind"] == "charge":
            return _entry(fields, terms.tariff)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenChain("it is not a line of a ledger") from error
    raise BrokenChain("it is neither a charge nor the mark of a cut line")


def _entry(fields: dict[str, Any], tariff: Mapping[str, Event]) -> Entry:
    names = fields["clients"]
    counts = dict(fields["counts"])
    whole(0, round=fields["round"])
    for count in counts.values():
        whole(1, count=count)
    if not counts or not counts.keys() <= tariff.keys():
        raise BrokenChain("it charges what the tariff does not have")
    return Entry(fields["round"], counts, None if names is None else tuple(client_id(name) for name in names))
