"""A training run and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from ringfort.audit.drill import label_counts, point, wall_card
from ringfort.audit.exposure import Exposure, exposure
from ringfort.audit.measure import predictor, recall
from ringfort.audit.results import ClientRow, Manifest, Point, SanitisedRow, TrainResult
from ringfort.audit.scenario import Scenario
from ringfort.audit.watching import watch_report
from ringfort.core.randomness import Seeds
from ringfort.core.values import Action, ClientId
from ringfort.privacy import Account
from ringfort.rounds.decisions import Decision
from ringfort.rounds.fuse import Defence
from ringfort.rounds.journal import Journal
from ringfort.rounds.private import PrivateRelease
from ringfort.rounds.record import RoundRecord

__all__ = ["summary", "train"]

_NOT_COVERED = (
    "No attack was run. What the wall is worth against one is a drill's question (ringfort drill).",
    "An update that was refused or left out is not proof of an attack, and one that was accepted is not proof of none.",
)


_SIGNED = (
    "Names are authenticated: every request and answer is signed by an enrolled key, for one run, round, stage, model "
    "and client. Whoever was not enrolled, revoked or expired when it spoke was refused."
)
_NAMES = (
    "Names are not authenticated on the in-process engine.",
    "All keys were on this machine: the signatures are real, that only its owner holds a key is simulated. Nothing "
    "proves that a name is a person or a hospital of its own.",
)


def train(
    scenario: Scenario,
    defence: Defence,
    f: int,
    seeds: Seeds,
    journal: Journal,
    *,
    title: str,
    manifest: Manifest,
    observe: Callable[[Point], None],
    release: PrivateRelease | None = None,
    decisions: Callable[[int], tuple[Decision, ...]] | None = None,
) -> tuple[TrainResult, bytes]:
    """Run (or resume) one honest-world federation; every round is in the journal before the next begins.

    Args:
        scenario: the federation.
        defence: its walls.
        f: attackers to bear.
        seeds: the simulation's root.
        journal: where rounds are committed.
        title: for the report.
        manifest: for the report.
        observe: told what was measured after each round.
        release: makes every step private, centrally.
        decisions: what people decided about clients since so many decisions; asked where the defence has a watch.

    Returns:
        What the report draws, and the final model, encoded.

    Raises:
        Incompatible (RF103), ToleranceExceeded (RF301): the defence cannot see through the seal, or not bear f.
    """
    started = time.monotonic()
    scenario.require(defence, f, seeds)
    rows: list[SanitisedRow] = []
    federation = scenario.federation(
        seeds,
        defence,
        workers=scenario.workers,
        journal=journal,
        release=release,
        observe=rows.append,
        decisions=None if defence.watch is None else decisions,
    )
    try:
        for last in federation.states():
            observe(point(last.record))
    finally:
        federation.exchange.close()
    return summary(
        scenario,
        defence,
        seeds,
        journal,
        title=title,
        manifest=manifest,
        started=started,
        release=release,
        sanitised=rows,
    )


def summary(
    scenario: Scenario,
    defence: Defence,
    seeds: Seeds,
    journal: Journal,
    *,
    title: str,
    manifest: Manifest,
    started: float,
    release: PrivateRelease | None = None,
    clients: tuple[str, ...] = (),
    sanitised: Sequence[SanitisedRow] = (),
) -> tuple[TrainResult, bytes]:
    """What a finished run's journal says, wherever its clients lived.

    Args:
        scenario: the federation.
        defence: its walls.
        seeds: the simulation's root.
        journal: of the run; holds at least round 0.
        title: for the report.
        manifest: for the report.
        started: on time.monotonic().
        release: as it was run with.
        clients: what the report must say about where the clients lived, if they were processes that signed.
        sanitised: what each client set aside, where that is known.

    Returns:
        What the report draws, and the final model, encoded.
    """
    records = journal.records
    head = records[-1]
    encoded = journal.model(head.next_model)
    model = scenario.model()
    counts = label_counts(scenario, seeds)
    accounts = scenario.privacy.accounts() if scenario.privacy else ()
    found = _exposure(scenario, release, accounts)
    predict = predictor(model, model.schema.decode(encoded), scenario.test)
    result = TrainResult(
        title=title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        manifest=manifest,
        run=head.run,
        rounds=head.round,
        d=model.schema.d,
        classes=scenario.train.classes,
        label_counts=counts,
        wall=wall_card(defence, scenario.rows(seeds)),
        curve=tuple(point(record) for record in records),
        accuracy=float(np.mean(predict(scenario.test.inputs) == scenario.test.labels)),
        recall=recall(predict, scenario.test),
        clients=_client_rows(records[1:], scenario.clients(seeds), [sum(row) for row in counts]),
        model=head.next_model,
        journal_head=head.digest,
        budget_spent=_budget_spent(records, accounts),
        protections=(*found.protects, *([_SIGNED] if scenario.people is not None or clients else [])),
        not_covered=(
            _NOT_COVERED[0],
            *found.open,
            *(clients or (_NAMES[scenario.people is not None],)),
            *_NOT_COVERED[1:],
        ),
        seconds=time.monotonic() - started,
        sanitised=tuple(sanitised),
        watch=None if defence.watch is None else watch_report(defence.watch, records),
    )
    return result, encoded


def _exposure(scenario: Scenario, release: PrivateRelease | None, accounts: tuple[Account, ...]) -> Exposure:
    if release is not None:
        return exposure(scenario.seal, release.mechanism.claim, (release.ledger.account,))
    return exposure(scenario.seal, scenario.privacy.mechanism.claim if scenario.privacy else None, accounts)


def _budget_spent(records: tuple[RoundRecord, ...], accounts: tuple[Account, ...]) -> tuple[tuple[int, float], ...]:
    """From the ledger of the client that spent most; from the records, where the server adds the noise."""
    if accounts:
        worst = max(accounts, key=lambda account: account.worst().epsilon)
        return tuple((number, spent.epsilon / worst.budget.epsilon) for number, spent in worst.curve() if number >= 0)
    said = [(record.round, record.privacy) for record in records if "spent" in record.privacy]
    return tuple((number, p["spent"]["epsilon"] / p["budget"]["epsilon"]) for number, p in said)


def _client_rows(
    records: tuple[RoundRecord, ...], clients: tuple[ClientId, ...], examples: list[int]
) -> tuple[ClientRow, ...]:
    rows = []
    for client, held in zip(clients, examples, strict=True):
        verdicts = [v for record in records for v in record.verdicts if v.client == client]
        refusals = [r for record in records for r in record.refusals if r.client == client]
        failures = [f for record in records for f in record.failures if f.client == client]
        left_out = [v for v in verdicts if v.action in (Action.EXCLUDE, Action.QUARANTINE)]
        reasons = [
            *(v.reasons[0] for v in left_out if v.reasons),
            *(f.error for f in failures),
            *(r.detail for r in refusals),
        ]
        rows.append(
            ClientRow(
                client=client,
                examples=held,
                rounds_asked=sum(client in record.cohort for record in records),
                rounds_accepted=len(verdicts) - len(left_out),
                rounds_left_out=len(left_out),
                refusals=len(refusals),
                failures=len(failures),
                mean_share=sum(v.weight for v in verdicts) / len(verdicts) if verdicts else 0.0,
                last_reason=reasons[-1] if reasons else "",
            )
        )
    return tuple(rows)
