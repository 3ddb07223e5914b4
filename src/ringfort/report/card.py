"""The model card: what a released model is, how it came about, what it was measured on, and what nobody knows of it."""

from __future__ import annotations

import html
import re

from ringfort.audit.results import TrainResult
from ringfort.report.words import clean, percent

__all__ = ["model_card"]

_UNPROTECTED = (
    "Nothing protected the clients' updates from the server, and no differential privacy is claimed for the model."
)
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def model_card(result: TrainResult) -> str:
    """Markdown for whoever is asked to use the model.

    Guarantees:
        Every string of the result is cleaned and escaped: no name can make a link, a heading or a table row.
        What Ringfort cannot know (the intended use, who is affected) is left open in so many words.
    """
    data, manifest, wall = result.manifest.data, result.manifest, result.wall
    asked = sum(client.rounds_asked > 0 for client in result.clients)
    again = f"`{_word(manifest.command)}`, recipe digest `{_word(manifest.recipe_digest)}`, seed {manifest.seed}"
    kind, licence = _text(data.get("kind", "unknown kind")), _text(data.get("licence", "unknown"))
    rows = "\n".join(
        f"| {_text(name)} | {percent(value)} |" for name, value in zip(result.classes, result.recall, strict=True)
    )
    return f"""# Model card: {_text(result.title)}

| | |
|---|---|
| model file | `model.safetensors`, SHA-256 `{_word(result.model)}` |
| parameters | {result.d:,} |
| made | {_text(result.created)}, by Ringfort {_text(manifest.ringfort)}, run `{_word(result.run)}` |
| how to make it again | {again} |
| round records | `rounds.jsonl`, last digest `{_word(result.journal_head)}` |

## Intended use

To be written by whoever releases the model: what it is for, who decides with it, and what it must not be used for.

## Data

{_text(data.get("title", data.get("name", "unnamed")))} ({kind}), licence: {licence}.
Origin: {_text(data.get("origin", "unknown"))}
Split over {len(result.clients)} clients, of which {asked} were asked, over {result.rounds} rounds.
Digests are in `manifest.json`.

## Quality

Accuracy {percent(result.accuracy)} on the server's hold-out data. Recall of each class:

| class | recall |
|---|---|
{rows}

Accuracy for groups of people, and on data that is not like the hold-out data, was not measured.

## Against hostile clients

Defence: `{_word(wall.label)}`, which bears {wall.bears} attackers in a cohort of this size.
It does not protect against: {_text(wall.does_not_protect) or "not stated"}
What it is worth against attacks is a drill's question (`ringfort drill`).
Whether the model holds a backdoor is an audit's (`ringfort audit`).

## Privacy of the clients

{_list(result.protections, _UNPROTECTED)}

## What is not covered

{_list(result.not_covered, "Nothing was stated.")}
"""


def _list(sentences: tuple[str, ...], otherwise: str) -> str:
    return "\n".join(f"- {_text(sentence)}" for sentence in sentences) or otherwise


def _text(value: str) -> str:
    """Text in which no character is markup."""
    return html.escape(_MARKUP.sub(r"\\\1", clean(value)), quote=False)


def _word(value: str) -> str:
    """For inside backticks."""
    return clean(value).replace("`", "'").replace("|", "/")
