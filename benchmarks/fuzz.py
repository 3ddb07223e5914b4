"""Coverage-guided fuzzing of every parser: `python -m benchmarks.fuzz --runs 20000`. Needs atheris (pip install).

Each parser runs in a process of its own, from a corpus made of tests/vectors and of what the parser's own writer makes.
An input that ends in anything but a value or a RingfortError, in 2 GiB of memory or in `--hangs-after` seconds of
processor time is kept in the output folder and counted; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
RECIPES = Path(__file__).parents[1] / "recipes"
_WALL_CLOCK = 60
"""After how many times its processor time an input is a hang that no signal of ours ends: in native code, or asleep."""


def main() -> None:
    """Fuzz one parser here (--target), or all, each in a process of its own."""
    args = _arguments()
    if args.target:
        _fuzz(args.target, args.runs, args.seconds, args.hangs_after, args.out)
        return
    from ringfort.testing.parsers import PARSERS

    found = []
    for name in args.only or PARSERS:
        found.append(_one(name, args))
        print(json.dumps(found[-1]), flush=True)
    total = sum(row["inputs"] for row in found)
    print(f"{total} inputs to {len(found)} parsers, {sum(row['crashed'] for row in found)} crashed")
    (args.out / "fuzz.json").write_text(json.dumps(found, indent=1))
    sys.exit(any(row["crashed"] for row in found))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each parser")
    parser.add_argument("--seconds", type=int, default=0, help="stop a parser after so many; 0: after its inputs")
    parser.add_argument("--hangs-after", type=int, default=10, help="seconds of processor time")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--target", help="used by itself")
    return parser.parse_args()


def _one(name: str, args: Any) -> dict[str, Any]:
    folder = args.out / name
    folder.mkdir(parents=True, exist_ok=True)
    options = {"target": name, "runs": args.runs, "seconds": args.seconds, "hangs-after": args.hangs_after}
    given = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    command = [sys.executable, "-m", "benchmarks.fuzz", *given, "--out", str(args.out)]
    started = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    said = (folder / "log.txt").read_text(errors="replace")
    counts = [int(n) for n in re.findall(r"^#(\d+)\s", said, re.MULTILINE)] or [0]
    coverage = [int(n) for n in re.findall(r"cov: (\d+)", said)] or [0]
    row = {"parser": name, "inputs": max(counts), "branches": max(coverage), "crashed": int(done.returncode != 0)}
    return row | {"seconds": round(time.monotonic() - started, 1)}


def _fuzz(name: str, runs: int, seconds: int, hangs_after: int, out: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["ringfort"], exclude=["ringfort.testing"]):
        from ringfort.core import parallel
        from ringfort.testing.parsers import PARSERS, check_parser, seeds

        parallel.limit(1)
        parser = PARSERS[name]()
    corpus = out / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate((*seeds(name), *vectors(name))):
        (corpus / f"seed-{i}").write_bytes(data)
    options = [f"-runs={runs}", f"-max_total_time={seconds}", f"-timeout={_WALL_CLOCK * hangs_after}"]
    options += ["-max_len=16384", "-len_control=0", "-rss_limit_mb=2048", "-print_final_stats=1"]
    options.append(f"-artifact_prefix={out / name}{os.sep}")

    def hold(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, hangs_after)
        try:
            check_parser(parser, data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, _hangs)
    atheris.Setup([sys.argv[0], *options, str(corpus)], hold)
    atheris.Fuzz()


class _HangError(BaseException):
    """No parser catches it."""


def _hangs(*_: object) -> None:
    raise _HangError


def vectors(name: str) -> Iterator[bytes]:
    """What tests/vectors has for a parser, the bad ones too."""
    if name in ("update", "gate", "broadcast", "tensors"):
        for path in sorted((VECTORS / "wire" / "v1").glob("*.json")):
            value = json.loads(path.read_text())
            frame = bytes.fromhex(value.get("frame", ""))
            yield frame[8 + int.from_bytes(frame[4:8], "big") :] if name == "tensors" else frame
    if name == "records":
        yield (VECTORS / "journal" / "v1" / "rounds.jsonl").read_bytes()
    if name == "ledger":
        for path in sorted((VECTORS / "privacy" / "v1").glob("*.jsonl")):
            yield path.read_bytes()
    if name == "recipe":
        for path in sorted(RECIPES.glob("*.toml")):
            yield path.read_bytes()
    if name in ("registry", "request", "grant", "letter", "equivocation", "invitation"):
        for entry in json.loads((VECTORS / "identity" / "v1" / "identity.json").read_text()):
            data = entry["data"] if isinstance(entry["data"], str) else json.dumps(entry["data"])
            try:
                yield bytes.fromhex(data)
            except ValueError:
                yield data.encode()


if __name__ == "__main__":
    main()
