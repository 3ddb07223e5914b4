"""Named places in which a test can kill the process, or fill the disk, exactly there.

`RINGFORT_FAILPOINT=rounds.written` kills the process (SIGKILL: nothing is cleaned up) the first time it comes past that
place, `rounds.written@3` the third time; `rounds.written=enospc` raises "no space left" there instead, once. Unset, as
it is outside tests, a place costs one look at an empty name. `POINTS` is the list; an unknown name is an error.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Final, Literal

from ringfort.core.errors import InvalidValue, UnknownName

__all__ = ["POINTS", "arm", "failpoint", "half"]

_LINES: Final = {
    "half": "half of the line is written",
    "written": "the line is written, not yet durable",
    "committed": "the line is part of the file, and durable unless the file never is",
}
_HELD: Final = ("rounds", "attempts", "checkpoints", "ledger", "registry")
_IN_TURN: Final = ("decisions", "taken", "equivocations", "receipts", "engine")
_DISK: Final = ("half", "written", "synced", "renamed")
POINTS: Final[dict[str, str]] = {
    "file.written": "a whole file lies under its temporary name, not yet durable",
    "file.synced": "it is durable under its temporary name",
    "file.renamed": "it has its name, the folder is not yet durable",
    "commit.begin": "a round is about to be committed; nothing is on disk",
    "commit.model": "its model is on disk, its memory is not",
    "commit.files": "its files are on disk, its record is not",
    "commit.recorded": "its record is on disk, old files are not yet forgotten",
    "commit.forgotten": "old files are forgotten, the checkpoint is not yet signed",
    "commit.exported": "the checkpoint is signed and exported",
    "round.charged": "the round's privacy is paid, its noise not yet drawn",
    "round.fused": "the step is made, nothing of it is on disk",
    **{f"{kind}.{point}": f"{kind}: {said}" for kind in (*_HELD, *_IN_TURN) for point, said in _LINES.items()},
}
"""Every place, and what is true there."""

_armed = ""
_action: Literal["kill", "enospc"] = "kill"
_left = 0


def arm(text: str) -> None:
    """Choose the place from `name[@count][=kill|enospc]`; nothing for an empty text.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): not a place, not a count, not an action.
    """
    global _armed, _action, _left
    place, _, action = text.partition("=")
    name, _, count = place.partition("@")
    if name and name not in POINTS:
        raise UnknownName.of("failpoint", name, POINTS)
    if action == "enospc" and name.partition(".")[2] not in _DISK:
        raise InvalidValue(f"nothing is written to disk at {name}")
    if action not in ("", "kill", "enospc") or not (count or "1").isdecimal() or count == "0":
        raise InvalidValue(f"a failpoint is name[@count][=kill|enospc], got {text!r}")
    _armed, _action, _left = name, "enospc" if action == "enospc" else "kill", int(count or "1")


def failpoint(name: str) -> None:
    """Come past the place `name`."""
    if name == _armed:
        _reach()


def half(name: str) -> bool:
    """Whether the next passing of `name` is the one that fails: whoever writes there writes only a half first."""
    return name == _armed and _left == 1


def _reach() -> None:
    global _armed, _left
    _left -= 1
    if _left:
        return
    if _action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    _armed = ""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


arm(os.environ.get("RINGFORT_FAILPOINT", ""))
