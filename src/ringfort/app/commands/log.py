"""ringfort log: what an auditor does with a run's records: verify them, prove one, check a proof, export them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ringfort.app.commands.shared import Json, print_result, reported

__all__ = ["app"]

app = typer.Typer(help="The audit log: keys, verification, proofs, export.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A training run's folder.", show_default=False)]
Public = Annotated[
    str | None, typer.Option("--key", metavar="PUB", help="The log's public key: KEY.pub, or its 64 characters.")
]
Outside = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="FILE", help="Checkpoints that were kept elsewhere.")
]


class Format(StrEnum):
    """What `export` writes."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command("key")
@reported
def key(file: Annotated[Path, typer.Argument(metavar="KEY", help="Where the private key goes.")]) -> None:
    """Make the key that signs checkpoints: KEY for the server alone, KEY.pub for auditors."""
    from ringfort.core.files import write_atomic
    from ringfort.identity.keyfiles import new_signing_key

    made = new_signing_key(file)
    public = file.with_name(f"{file.name}.pub")
    write_atomic(public, made.public.hex().encode() + b"\n")
    print_result(f"{made.public.hex()}\nGive {public} to your auditors now: later, nobody can tell whose it is.")


@app.command("verify")
@reported
def verify(run: Run, checkpoint: Outside = None, public: Public = None, as_json: Json = False) -> None:
    """Check every record, file, ledger and checkpoint of a run; the first bad one is named."""
    import json

    from ringfort.rounds.checkpoint import public_key
    from ringfort.rounds.log import verify as verified

    found = verified(run, checkpoint, None if public is None else public_key(public))
    if as_json:
        print_result(json.dumps(found.to_json(), indent=2))
        return
    outside = (
        f"{found.anchored} of {found.records} records are covered by a checkpoint from outside"
        if found.anchored is not None
        else "no checkpoint from outside was given: whoever can write this folder could have rewritten all of it"
    )
    lines = [
        f"run          {found.run}",
        f"records      {found.records}, in one chain; head {found.head}",
        f"merkle root  {found.root}",
        f"failed       {found.attempts} rounds ended without a step",
        f"files        {found.files} models and memories have their digests",
        f"charges      {found.charges} in the privacy ledgers",
        f"checkpoints  {found.checkpoints} beside the records",
        f"outside      {outside}",
        *(f"note         {note}" for note in found.notes),
    ]
    print_result("\n".join(lines))


@app.command("prove")
@reported
def prove(
    run: Run,
    round_number: Annotated[int | None, typer.Option("--round", metavar="N", help="Prove this record.", min=0)] = None,
    since: Annotated[
        Path | None, typer.Option("--since", metavar="FILE", help="Prove that the log only grew since this checkpoint.")
    ] = None,
    checkpoint: Outside = None,
) -> None:
    """Print a proof that needs nothing else than the log's public key to be checked."""
    from ringfort.core.errors import InvalidValue
    from ringfort.rounds import log

    if (round_number is None) == (since is None):
        raise InvalidValue("say what to prove: --round N, or --since FILE")
    if since is not None:
        made = log.prove_consistency(run, since)
    elif round_number is not None:
        made = log.prove(run, round_number, checkpoint)
    typer.echo(log.as_document(made), nl=False)


@app.command("check")
@reported
def check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="What `prove` printed.", show_default=False)],
    public: Annotated[str, typer.Option("--key", metavar="PUB", help="The log's public key.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Check a proof with the log's public key alone."""
    import json

    from ringfort.core.errors import BadProof
    from ringfort.rounds.checkpoint import public_key
    from ringfort.rounds.log import check as checked

    try:
        data = proof.read_bytes()
    except OSError as error:
        raise BadProof(f"cannot read {proof}: {error.strerror or error}") from error
    found = checked(data, public_key(public))
    said = found.checkpoint
    if as_json:
        value = {
            "checkpoint": said.to_json(),
            "record": found.record and found.record.to_json(),
            "old": found.old and found.old.to_json(),
        }
        print_result(json.dumps(value, indent=2))
        return
    what = (
        f"round {found.record.round} (record {found.record.digest})"
        if found.record is not None
        else f"everything in the log of size {found.old.size if found.old else 0}"
    )
    print_result(f"holds: {what} is in the log of run {said.origin}, size {said.size}, signed at {said.time}")


@app.command("receipts")
@reported
def receipts(
    run: Run,
    registry: Annotated[
        Path | None, typer.Option("--registry", metavar="FILE", help="The federation's registry, or a copy.")
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            "--authority", metavar="KEY", help="Its authority's key: 64 characters, a file, a member's folder."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="NAME", help="Whose receipts count; by default the recipe's server."),
    ] = None,
    kept: Annotated[
        list[str] | None,
        typer.Option("--kept", metavar="NAME=FOLDER", help="What a client kept. Repeatable; by default those in RUN."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the records with what clients signed, and with the receipts that they hold; every fault is named.

    A run by `up` has its own members' keys and answers in RUN; for others give --registry and --authority.
    """
    import json

    from ringfort.app.evidence import authority_key, kept_by, keys_of, server_name
    from ringfort.audit.receipts import check_run
    from ringfort.core.errors import InvalidValue
    from ringfort.report.words import clean

    folders = kept_by(run, kept or ())
    key = None if authority is None else authority_key(authority)
    keys = keys_of(run, registry, key, server_name(run, server))
    found = check_run(run, keys, folders)
    if not found.checked:
        raise InvalidValue(f"nothing that a client of {run} kept was given or can be read: give --kept NAME=FOLDER")
    trust = "the key that was given" if key else "a key in RUN: whoever can write this folder could have replaced it"
    if as_json:
        value = {**found.to_json(), "authority": "given" if key else "in the run"}
        print_result(json.dumps(value, indent=2))
        found.history.require()
        return
    history = found.history
    lines = [
        f"run             {found.run}",
        f"rounds          {found.rounds}, in one chain",
        f"names           believed by {trust}",
        f"clients         checked {len(found.checked)} of {len(found.clients)}",
        *(f"  not checked   {name}: {why}" for name, why in found.missing.items()),
        *(
            f"  fewer         {name} kept {count} answers fewer than the server shows"
            for name, count in found.short.items()
        ),
        f"acknowledged    {history.acknowledged} answers, each with the server's receipt",
        f"  counted       {history.counted}",
        f"  left out      {history.left_out}",
        f"  superseded    {history.superseded}: the round was begun again",
        f"  pending       {history.pending}: the round is not committed",
        f"unacknowledged  {history.unacknowledged} answers without a receipt",
        f"ledgers         {found.ledgers} compared with what was released",
        f"faults          {len(history.faults) or 'none'}",
        *(f"  {fault.kind:13} {fault.what}" for fault in history.faults),
    ]
    print_result("\n".join(map(clean, lines)))
    history.require()


@app.command("export")
@reported
def export(
    run: Run,
    form: Annotated[Format, typer.Option("--format", help="jsonl: every field. csv: a row per client and round.")],
) -> None:
    """Print the verified records, for a log collector or a spreadsheet."""
    from ringfort.rounds.log import rows_csv, rows_jsonl

    for line in (rows_csv if form is Format.CSV else rows_jsonl)(run):
        typer.echo(line, nl=False)
