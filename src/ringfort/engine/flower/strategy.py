"""A strategy for a Flower ServerApp: Flower asks the nodes, Ringfort judges what they answer."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from numpy.typing import NDArray

from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.ports import Failure
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, ClientId
from ringfort.engine.flower.names import node_name
from ringfort.engine.told import counts, medians, said
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate
from ringfort.rounds.hosted import Answer, Hosted
from ringfort.rounds.private import PrivateRelease
from ringfort.rounds.record import RoundRecord

__all__ = ["RingfortStrategy"]

_LOG: Final = logging.getLogger("ringfort.flower")
_NPY_HEADER_BYTES: Final = 4096


class RingfortStrategy(FedAvg):  # type: ignore[misc]  # untyped where flwr is not installed
    """FedAvg's messages, Ringfort's decisions: gate, defence, privacy and journal in front of the global model.

    Args:
        defence: the walls.
        gate: the door.
        f: attackers to bear. No default: the caller states the threat.
        run: the folder of the run, as `ringfort train` writes it; a run in it is resumed. None keeps nothing.
        seeds: for rules that draw; None takes fresh ones from the operating system.
        release: makes every step private, centrally; then every connected node must be asked (fraction_train = 1).
        fedavg: everything that FedAvg takes (fractions, minimum numbers, keys).

    Guarantees:
        Those of `rounds.Hosted`. No reply ends a round: what FedAvg would raise for (other keys, two records, no
        weight) is a refusal in the record. Weights that clients claim are checked and never used.
        Metrics are the median over clients, of finite numbers that more than half report.
        Arrays are read as plain float32 without allocating what a header claims.

    Raises:
        ToleranceExceeded (RF301): too few nodes for f, before anybody is asked, or too few came back.
        NothingAdmitted (RF604): nobody's update passed the gate. Both end the run; started again, it is resumed.

    Does not protect against: whoever controls the SuperLink, its control API, or the names it gives to nodes. Without
        node authentication a name is a connection: whoever reconnects is new to the watch.

    Cost: that of `Hosted`, and one copy of the model each round.
    """

    def __init__(
        self,
        defence: Defence,
        gate: Gate,
        *,
        f: int,
        run: Path | str | None,
        seeds: Seeds | None = None,
        release: PrivateRelease | None = None,
        **fedavg: Any,
    ) -> None:
        super().__init__(**fedavg)
        if release is not None and self.fraction_train != 1.0:
            raise Incompatible("central noise is counted for everybody: set fraction_train to 1, or leave it out")
        self._walls = (defence, gate)
        self._given: dict[str, Any] = {"f": f, "seeds": seeds, "release": release}
        self._run = None if run is None else Path(run)
        self._hosted: Hosted | None = None
        self._names: tuple[str, ...] = ()
        self._asked: tuple[ClientId, ...] = ()

    @property
    def record(self) -> RoundRecord:
        """Of the last committed round: verdicts with reasons, refusals, failures, absences.

        Raises:
            InvalidValue (RF104): before `start`.
        """
        return self._open.state.record

    @property
    def _open(self) -> Hosted:
        if self._hosted is None:
            raise InvalidValue(
                "the strategy has no model yet: call start(grid=..., initial_arrays=..., num_rounds=...)"
            )
        return self._hosted

    def summary(self) -> None:
        """Log what stands between the nodes and the model."""
        defence, gate = self._walls
        _LOG.info("Ringfort: %s, %s, run folder %s", defence.label, gate, self._run)
        super().summary()

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, **given: Any) -> Result:
        """Run until `num_rounds` rounds are committed, those of an earlier start in the same folder included."""
        if self._run is not None:
            self._run.mkdir(parents=True, exist_ok=True)
        initial = {name: array.numpy() for name, array in initial_arrays.items()}
        self._names = tuple(initial)
        with Hosted(initial, *self._walls, journal=self._run, **self._given) as self._hosted:
            arrays = self._arrays() if self._hosted.round else initial_arrays
            left = max(0, num_rounds - self._hosted.round)
            result = super().start(grid, arrays, left, **given)
            if not left:
                result.arrays = arrays
            return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """FedAvg's draw, without those who are barred."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        named = {node_name(message.metadata.dst_node_id): message for message in messages}
        self._asked = self._open.ask(named)
        return [named[client] for client in self._asked]

    def aggregate_train(
        self,
        server_round: int,  # noqa: ARG002
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge, step, commit."""
        hosted = self._open
        if not self._asked:
            return None, None
        schema = hosted.schema
        answers: dict[ClientId, Answer | Failure] = {}
        metrics: list[Mapping[str, Any]] = []
        for message in replies:
            name = node_name(message.metadata.src_node_id)
            if name in answers:
                continue
            answers[name] = self._answer(name, message, schema)
            if not message.has_error():
                metrics += _metrics(message)
        record = hosted.fuse(answers).record
        line, refusals = said(record)
        _LOG.info("%s", line)
        for refusal in refusals:
            _LOG.warning("%s", refusal)
        return self._arrays(), MetricRecord({**medians(metrics, self.weighted_by_key), **counts(record)})

    def aggregate_evaluate(
        self,
        server_round: int,  # noqa: ARG002
        replies: Iterable[Message],
    ) -> MetricRecord | None:
        """The median of each metric over the nodes, if more than half report it."""
        found = [one for message in replies if not message.has_error() for one in _metrics(message)]
        return MetricRecord(medians(found, self.weighted_by_key)) if found else None

    def _answer(self, name: ClientId, message: Message, schema: Schema) -> Answer | Failure:
        if message.has_error():
            return Failure(name, f"Flower error {message.error.code}: {message.error.reason}")
        records = list(message.content.array_records.values())
        tensors = _tensors(records[0], schema) if len(records) == 1 else {}
        claims = [one.get(self.weighted_by_key) for one in _metrics(message)]
        return Answer(tensors, claims[0] if len(claims) == 1 else None)

    def _arrays(self) -> ArrayRecord:
        """The global model; tensors in the order in which the app gave them."""
        tensors = self._open.tensors
        return ArrayRecord({name: Array(np.array(tensors[name])) for name in self._names})


def _metrics(message: Message) -> list[Mapping[str, Any]]:
    return list(message.content.metric_records.values())


def _tensors(record: ArrayRecord, schema: Schema) -> dict[str, NDArray[Any] | None]:
    """A stranger's arrays, as read-only views of its bytes; None where they are not what the schema says."""
    shapes = dict(schema.tensors)
    return {name: _tensor(array, shapes.get(name)) for name, array in record.items()}


def _tensor(array: Array, shape: tuple[int, ...] | None) -> NDArray[Any] | None:
    """One array without trusting its header: NumPy's own reader would allocate whatever the header claims."""
    if shape is None or array.stype != "numpy.ndarray":
        return None
    size = 4 * math.prod(shape)
    if not size <= len(array.data) <= size + _NPY_HEADER_BYTES:
        return None
    stream = io.BytesIO(array.data[:_NPY_HEADER_BYTES])
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            return None
        found, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_NPY_HEADER_BYTES)
    except ValueError:
        return None
    if found != shape or dtype != np.dtype("<f4") or len(array.data) != stream.tell() + size:
        return None
    flat: F32 = np.frombuffer(array.data, dtype="<f4", offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
