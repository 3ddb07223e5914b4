"""Live progress on stderr: bars on a terminal, plain lines in a pipe or in CI, nothing when quiet.

No thread is started: the screen changes when a method is called, so a poller calls `tick` while it waits.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ringfort.audit.results import Point
from ringfort.report.words import clean, duration, percent

__all__ = ["DrillProgress", "TrainProgress"]

_REFRESH_S = 0.1


@dataclass(slots=True)
class _Running:
    label: str
    rounds: int
    since: float
    task: TaskID | None
    point: Point | None = None

    @property
    def done(self) -> int:
        return 0 if self.point is None else min(self.point.round, self.rounds)


class _Live:
    """What both kinds share: where the lines go, which trials run, and how often the screen changes."""

    def __init__(self, quiet: bool, console: Console | None) -> None:
        self._console = console or Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)
        self._quiet = quiet
        self._bars: Progress | None = None
        self._running: dict[str, _Running] = {}
        self._begun = self._refreshed = time.monotonic()

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        if self._console.is_interactive and not self._quiet:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[state]}", markup=False),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def start(self, key: str, label: str, rounds: int) -> None:
        """A trial begins. `key` names it in the other calls, `label` on the screen."""
        task = None
        if self._bars is not None:
            task = self._bars.add_task(clean(label), total=rounds, state=f"round 0/{rounds}")
        self._running[key] = _Running(clean(label), rounds, time.monotonic(), task)
        self._draw(force=True)

    def advance(self, key: str, point: Point) -> None:
        """A round of a running trial was evaluated."""
        trial = self._running[key]
        trial.point = point
        if self._bars is not None and trial.task is not None:
            self._bars.update(trial.task, completed=trial.done, state=self._state(trial))
        self._draw()

    def finish(self, key: str, error: str | None) -> None:
        """A trial ended, with the reason if it has no result."""
        trial = self._running.pop(key)
        if self._bars is not None and trial.task is not None:
            self._bars.remove_task(trial.task)
        self._ended(trial, error)
        self._draw(force=True)

    def tick(self) -> None:
        """Nothing happened, but time passed: redraw the time left."""
        self._draw()

    def _state(self, trial: _Running) -> str:
        return f"round {trial.done}/{trial.rounds}{_measures(trial.point)}"

    def _ended(self, trial: _Running, error: str | None) -> None:
        raise NotImplementedError

    def _before_drawing(self) -> None:
        """Hook: update what every redraw shows."""

    def _draw(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._bars is not None and (force or now - self._refreshed >= _REFRESH_S):
            self._refreshed = now
            self._before_drawing()
            self._bars.refresh()

    def _say(self, line: str, style: str = "") -> None:
        if not self._quiet:
            self._console.print(Text(clean(line), style), soft_wrap=True)

    def _left(self, done: int, total: int) -> str:
        elapsed = time.monotonic() - self._begun
        return f"{duration(elapsed / done * (total - done))} left" if 0 < done < total else ""


class DrillProgress(_Live):
    """All trials of a drill: one overall bar in rounds with the time left, and one bar for each running trial.

    Args:
        trials: how many there are.
        total_rounds: rounds over all trials.
        quiet: print nothing at all.
        console: where to; stderr if not given.

    On anything but a terminal each finished trial prints one plain line instead. Use from one thread only.
    """

    def __init__(self, trials: int, total_rounds: int, *, quiet: bool = False, console: Console | None = None) -> None:
        super().__init__(quiet, console)
        self._trials, self._total = trials, total_rounds
        self._finished = self._behind = 0
        self._overall: TaskID | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self._bars is not None:
            self._overall = self._bars.add_task("drill", total=self._total, state="")
            self._draw(force=True)
        return self

    def _before_drawing(self) -> None:
        done = self._behind + sum(t.done for t in self._running.values())
        if self._bars is not None and self._overall is not None:
            state = [f"{self._finished}/{self._trials} trials", self._left(done, self._total)]
            self._bars.update(self._overall, completed=done, state="  ".join(filter(None, state)))

    def _ended(self, trial: _Running, error: str | None) -> None:
        self._finished += 1
        self._behind += trial.rounds
        if self._bars is None or error is not None:
            said = f": error: {error}" if error is not None else _measures(trial.point, ": ", ", ")
            spent = duration(time.monotonic() - trial.since)
            line = f"[{self._finished}/{self._trials}] {trial.label}{said} ({spent})"
            self._say(line, "" if error is None else "red")


class TrainProgress(_Live):
    """One training run: a bar with the time left.

    Args:
        quiet: print nothing at all.
        console: where to; stderr if not given.

    On anything but a terminal each evaluated round prints one plain line instead. Use from one thread only.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        super().__init__(quiet, console)

    def advance(self, key: str, point: Point) -> None:
        """A round was evaluated."""
        super().advance(key, point)
        if self._bars is None:
            trial = self._running[key]
            self._say(f"{trial.label}: round {trial.done}/{trial.rounds}{_measures(point, ': ', ', ')}")

    def _state(self, trial: _Running) -> str:
        left = self._left(trial.done, trial.rounds)
        return super()._state(trial) + (f"  {left}" if left else "")

    def _before_drawing(self) -> None:
        for trial in self._running.values():
            if self._bars is not None and trial.task is not None:
                self._bars.update(trial.task, state=self._state(trial))

    def _ended(self, trial: _Running, error: str | None) -> None:
        if error is not None:
            self._say(f"{trial.label}: error: {error}", "red")


def _measures(point: Point | None, before: str = "  ", between: str = "  ") -> str:
    if point is None:
        return ""
    success = [] if point.attack_success is None else [f"attack success {percent(point.attack_success)}"]
    return before + between.join([f"accuracy {percent(point.accuracy)}", *success])
