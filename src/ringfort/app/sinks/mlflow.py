"""A run as a run of MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ringfort.app.control.numbers import numbers
from ringfort.core.errors import BrokenChain, InvalidValue, TransportError
from ringfort.core.extras import extra
from ringfort.report.words import clean
from ringfort.rounds.record import RoundRecord

__all__ = ["MlflowRun", "quiet_mlflow"]

_RUN: Final = "ringfort.run"
_HEAD: Final = "ringfort.head"
_EXPERIMENT: Final = "ringfort"
_AT_ONCE: Final = 20
"""Records per call; MLflow takes at most 1000 numbers."""


def quiet_mlflow() -> Any:
    """MLflow, with its usage reports off: they are on by default, and tell a third party.

    Raises:
        MissingExtra (RF105): it is not installed.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before its import
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    with extra("mlflow", "this export needs MLflow"):
        import mlflow.entities
    return mlflow


@dataclass(slots=True)
class MlflowRun:
    """One run in the experiment `ringfort`, found again by its tag `ringfort.run`.

    Args:
        uri: the tracking store; nothing else is called.
        title: how people know the run.

    Guarantees:
        Rounds that are there already are not sent again; the tag `ringfort.head` holds the last one's digest, and a
        history that does not contain it is refused.

    Does not protect: against two exports of one run at the same time. Steps are rounds; the times are the export's, for
        records hold none.
    """

    uri: str
    title: str
    _client: Any = field(default=None, init=False)
    _id: str = field(default="", init=False)
    _done: int = field(default=-1, init=False)

    def add(self, records: Sequence[RoundRecord]) -> int:
        """Send a point per record and number; the first time, all records from round 0 on are needed.

        Returns:
            How many rounds were new.

        Raises:
            TransportError (RF602): the store cannot be reached or refuses.
            InvalidValue (RF104): several runs of the store carry this run's tag.
            BrokenChain (RF701): the store has rounds of this run with another history.
        """
        with _reached():
            if not self._id:
                self._find(records)
            new = [record for record in records if record.round > self._done]
            for first in range(0, len(new), _AT_ONCE):
                self._send(new[first : first + _AT_ONCE])
        return len(new)

    def end(self) -> None:
        """Mark the run as finished."""
        with _reached():
            self._client.set_terminated(self._id)

    def _find(self, records: Sequence[RoundRecord]) -> None:
        self._client = quiet_mlflow().MlflowClient(tracking_uri=self.uri)
        known = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(_EXPERIMENT)
        run = records[0].run
        found = self._client.search_runs([experiment], filter_string=f"tags.`{_RUN}` = '{run}'")
        if len(found) > 1:
            raise InvalidValue(f"{len(found)} runs of this store have the tag {_RUN} = {run}: delete all but one")
        if not found:
            self._id = self._client.create_run(experiment, tags={_RUN: run}, run_name=self.title).info.run_id
            return
        head = found[0].data.tags.get(_HEAD)
        if head is not None and head not in map(_head, records):
            raise BrokenChain("the store has rounds of this run that are not in its records")
        self._id = found[0].info.run_id
        self._done = max((one.step for one in self._client.get_metric_history(self._id, "round")), default=-1)

    def _send(self, records: Sequence[RoundRecord]) -> None:
        now, entities = int(1000 * time.time()), quiet_mlflow().entities
        points = [
            entities.Metric(name, value, now, record.round)
            for record in records
            for name, value in {**numbers(record), "round": float(record.round)}.items()
        ]
        self._client.log_batch(self._id, metrics=points, tags=[entities.RunTag(_HEAD, _head(records[-1]))])
        self._done = records[-1].round


def _head(record: RoundRecord) -> str:
    return f"{record.round}:{record.digest}"


@contextmanager
def _reached() -> Iterator[None]:
    mlflow = quiet_mlflow()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (mlflow.MlflowException, SQLAlchemyError, OSError) as error:
        raise TransportError(f"MLflow did not take the run: {clean(error)[:300]}") from error
