"""A Flower project's commands and configuration, read as text: what they leave open. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringfort.audit.finding import Finding, Severity

__all__ = ["check_flower", "is_flower"]

_SUFFIXES: Final = {".sh", ".toml", ".yml", ".yaml", ".service", ".md", ".env", ".txt", ".cfg", ""}
_NAMED: Final = {"Makefile", "Dockerfile", "Procfile", ".env"}
_MOST_BYTES: Final = 1 << 20
_COMMAND: Final = re.compile(r"(flower-superlink|flower-supernode)(?=[\s\"',\]\\]|$)")
_INSECURE: Final = re.compile(r"^\s*insecure\s*=\s*true", re.M)
_LINES: Final = 25


def is_flower(folder: Path) -> bool:
    """Whether some file here is about Flower's commands, or is a Flower app's."""
    return any(_COMMAND.search(text) or "[tool.flwr" in text for _, text in _texts(folder))


def check_flower(folder: Path) -> Iterator[Finding]:
    """How its servers and nodes are started, and what they send home."""
    everything = dict(_texts(folder))
    servers = [found for path, text in everything.items() for found in _uses(path, text, "flower-superlink")]
    nodes = [found for path, text in everything.items() for found in _uses(path, text, "flower-supernode")]
    for where, words in servers:
        yield from _server(where, words)
    for where, words in nodes:
        yield from _node(where, words)
    for path, text in everything.items():
        if path.suffix == ".toml" and _INSECURE.search(text):
            yield _insecure(str(path))
        if path.name == "pyproject.toml" and "[tool.flwr" in text and not re.search(r"\bflwr(\[[^\]]*\])?==", text):
            yield Finding(
                "version",
                Severity.MEDIUM,
                "flwr is not pinned to one version.",
                "Its transports and defaults have changed between releases.",
                "Pin flwr==X.Y.Z.",
                str(path),
            )
    if not any(re.search(r"FLWR_TELEMETRY_ENABLED[\s=:\"']+0", text) for text in everything.values()):
        yield Finding(
            "telemetry",
            Severity.MEDIUM,
            "nothing sets FLWR_TELEMETRY_ENABLED=0.",
            "Telemetry is on by default: the machines of the federation report to Flower's makers.",
            "Set it in the environment of every Flower process.",
        )


def _server(where: str, words: str) -> Iterator[Finding]:
    if "--insecure" in words:
        yield _insecure(where)
    if "--enable-supernode-auth" not in words and "--auth-list-public-keys" not in words:
        yield Finding(
            "node admission",
            Severity.HIGH,
            "the SuperLink starts without --enable-supernode-auth.",
            "Every machine that reaches the port is admitted as a node.",
            "Add --enable-supernode-auth, register nodes by key, and keep the port's control paths from strangers.",
            where,
        )
    if "--disable-runtime-dependency-installation" not in words:
        yield Finding(
            "runtime installs",
            Severity.HIGH,
            "the SuperLink installs what an app asks for when it runs.",
            "Whoever submits an app chooses packages, and their installers run on the server.",
            "Add --disable-runtime-dependency-installation, and install what you reviewed.",
            where,
        )
    bound = re.search(r"--host[=\s\"',]+([\w.:\[\]]+)", words)
    if bound is None or bound[1] in ("0.0.0.0", "[::]", "::"):  # noqa: S104 - read, not bound
        yield Finding(
            "control port",
            Severity.HIGH,
            f"the SuperLink listens on {'its default address' if bound is None else bound[1]}.",
            "Nodes and administrators share the port, and administrators need no login.",
            "Bind it to loopback, and let a proxy pass only the nodes' paths.",
            where,
        )


def _node(where: str, words: str) -> Iterator[Finding]:
    if "--insecure" in words:
        yield _insecure(where)
    elif "--auth-supernode-private-key" not in words:
        yield Finding(
            "node key",
            Severity.HIGH,
            "the SuperNode starts without a key of its own.",
            "A node without a key is whoever connects.",
            "Add --auth-supernode-private-key.",
            where,
        )
    if "--allow-runtime-dependency-installation" in words or "--enable-runtime-dependency-installation" in words:
        yield Finding(
            "runtime installs",
            Severity.HIGH,
            "the SuperNode installs what an app asks for when it runs.",
            "Whoever submits an app chooses packages that run beside the data.",
            "Leave the option out, and install what you reviewed.",
            where,
        )


def _insecure(where: str) -> Finding:
    return Finding(
        "transport",
        Severity.HIGH,
        "connections are not encrypted (insecure).",
        "Everybody on the way reads and changes models and updates.",
        "Use TLS with certificates of your own authority.",
        where,
    )


def _uses(path: Path, text: str, command: str) -> Iterator[tuple[str, str]]:
    """Each start of a command, with its options: to the next command, an empty line, or 25 lines on."""
    if path.suffix == ".md":
        return  # prose speaks of commands; what is run stands elsewhere
    lines = text.splitlines()
    for number, line in enumerate(lines):
        for found in _COMMAND.finditer(line):
            if found[1] != command or line.lstrip().startswith(("#", "//")):
                continue
            words = [line[found.end() :]]
            for following in lines[number + 1 : number + _LINES]:
                if not following.strip() or _COMMAND.search(following):
                    break
                if path.suffix not in (".yml", ".yaml") and not words[-1].rstrip().endswith("\\"):
                    break
                words.append(following)
            yield f"{path}:{number + 1}", _COMMAND.split(" ".join(words))[0]


def _texts(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any((part.startswith(".") and part != ".env") or part in ("venv", "node_modules") for part in name.parts):
            continue
        if not path.is_file() or not (path.suffix in _SUFFIXES or path.name in _NAMED):
            continue
        try:
            if path.stat().st_size <= _MOST_BYTES:
                yield name, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
