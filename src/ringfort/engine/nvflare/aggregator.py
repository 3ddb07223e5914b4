"""Ringfort inside an NVFlare FedAvg recipe (nvflare 2.9): an aggregator. Imports nvflare.

aggregator = RingfortAggregator(rule="multi-krum", f=1, max_norm=50.0, max_examples=10_000, run="/srv/runs/job")
recipe = FedAvgRecipe(..., aggregator=aggregator)
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.extras import extra
from ringfort.core.ports import Failure
from ringfort.core.values import ClientId, client_id
from ringfort.engine.told import medians, said
from ringfort.engine.walls import Walls, read_walls, walls
from ringfort.rounds.hosted import Answer, Hosted
from ringfort.rounds.record import RoundRecord

with extra("nvflare", "the aggregator needs nvflare"):
    from nvflare.apis.dxo import from_shareable
    from nvflare.apis.event_type import EventType
    from nvflare.apis.fl_constant import FLContextKey, FLMetaKey, ReturnCode
    from nvflare.apis.fl_context import FLContext
    from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
    from nvflare.app_common.abstract.model import ModelLearnableKey
    from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
    from nvflare.app_common.app_constant import AppConstants
    from nvflare.app_common.app_event_type import AppEventType

__all__ = ["RingfortAggregator", "site_id"]

_HASHED: Final = re.compile(r".*-x[0-9a-f]{32}")
_SLUG, _DIGITS = 30, 32
_INLINE: Final = ("rule", "f", "max_norm", "max_examples", "watch_alpha")


def site_id(site: str) -> ClientId:
    """How records call a site: by its name where that is a client's name, else by what is left of it and a digest.

    Two sites never share a name, unless SHA-256 collides in 128 bits.

    >>> site_id("site-1"), site_id("Clinic_7")
    ('site-1', 'clinic-7-x058eb334b7baf39cb0fa6637d69f26af')
    """
    if not _HASHED.fullmatch(site):
        try:
            return client_id(site)
        except InvalidValue:
            pass
    slug = re.sub(r"[^a-z0-9]+", "-", site.lower()).strip("-")[:_SLUG].rstrip("-") or "site"
    digest = hashlib.sha256(site.encode("utf-8", "surrogatepass")).hexdigest()
    return client_id(f"{slug}-x{digest[:_DIGITS]}")


class RingfortAggregator(ModelAggregator):  # type: ignore[misc]  # nvflare is untyped
    """NVFlare's messages, Ringfort's decisions: gate, defence and journal in front of the FedAvg controller's model.

    All arguments are names and numbers, so that they survive the job's configuration. The walls are either given here
    or stand in a file.

    Args:
        run: the folder of the run on the server's machine, an absolute path, written as `ringfort train` writes it; a
            run in it is resumed. None keeps nothing. No default.
        recipe: the walls as a TOML file on the server's machine, an absolute path: `[gate]`, `[defence]`, `[watch]`.
        rule: instead of a file: a rule by name, mixings before it, as `"nnm | trimmed-mean"`.
        f: attackers to bear.
        max_norm: the gate's cap on an update's L2 norm.
        max_examples: the gate's cap on claimed examples.
        watch_alpha: puts the recommended watch before the rule: the share of honest sites that it may ever quarantine.

    Guarantees:
        Those of `rounds.Hosted`. No result ends a round: what it holds, and an error that a site reports instead of
        one, becomes a refusal or a failure in the record.
        The model, its names and its shapes come from the server's own model and task, never from a client; each round
        the aggregator checks that the task holds exactly the model that it committed last.
        Numbers of steps that clients claim are checked and never used; none at all counts as 1.
        Metrics are the median over clients, of finite numbers that more than half report.

    Raises:
        InvalidValue (RF104), UnknownName (RF101): arguments that make no walls, in the job script already.
        ToleranceExceeded (RF301): too few sites for f, before anybody is asked, or too few came back.
        NothingAdmitted (RF604): nobody's update passed the gate.
        Incompatible (RF103): a model that is not all float32 NumPy arrays, or a controller that changes the model
            between rounds. All of these end the job; a new one is resumed from the folder.

    Does not protect against: what NVFlare does outside its aggregator. Whom the watch bars is still sampled and asked;
        the answer does not count. An enrolled site can end the job, or keep the round waiting: FedAvg has no deadline.
        NVFlare's own choice of the "best" model believes clients' metrics.

    Cost: that of `Hosted`, the cohort's results held until the round ends, one copy of the model and one comparison
        with it each round.
    """

    def __init__(
        self,
        *,
        run: str | None,
        recipe: str | None = None,
        rule: str | None = None,
        f: int | None = None,
        max_norm: float | None = None,
        max_examples: int | None = None,
        watch_alpha: float | None = None,
    ) -> None:
        super().__init__()
        # NVFlare writes a job's configuration from attributes that are called like the arguments.
        self.run, self.recipe = run, recipe
        self.rule, self.f, self.watch_alpha = rule, f, watch_alpha
        self.max_norm, self.max_examples = max_norm, max_examples
        for name, path in (("run", run), ("recipe", recipe)):
            if path is not None and not Path(str(path)).is_absolute():
                raise InvalidValue(f"{name} must be an absolute path on the server's machine, got {path!r}")
        if recipe is not None:
            self._only_recipe()
        self._given = self._walls() if recipe is None else None
        self._hosted: Hosted | None = None
        self._order: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._sent: Mapping[str, Any] | None = None
        self._forget()

    def _walls(self) -> Walls:
        if not isinstance(self.rule, str):
            raise InvalidValue(
                'rule must be a name, as "multi-krum" or "nnm | trimmed-mean", or recipe the path of a file'
            )
        tables: dict[str, Any] = {
            "gate": {"max_norm": self.max_norm, "max_examples": self.max_examples},
            "defence": {"rule": self.rule, "f": self.f},
        }
        if self.watch_alpha is not None:
            tables["watch"] = {"alpha": self.watch_alpha, "preset": "recommended"}
        return walls(tables)

    def _only_recipe(self) -> None:
        twice = [name for name in _INLINE if getattr(self, name) is not None]
        if twice:
            raise Incompatible(f"the recipe's file says what {', '.join(twice)} would say: give one or the other")

    @property
    def record(self) -> RoundRecord:
        """Of the last committed round.

        Raises:
            InvalidValue (RF104): before the first round.
        """
        if self._hosted is None:
            raise InvalidValue("no round has begun: the job's controller begins them")
        return self._hosted.state.record

    # ---- what the FedAvg controller calls, in this order, every round

    def reset_stats(self) -> None:
        """Before anybody is asked: open the run, or go on with it, and see whether so few sites can bear f."""
        self._forget()
        weights = self._global_weights()
        if self._hosted is None and weights is not None:
            hosted = self._open(weights)
            if hosted.round:  # the persistor knows nothing of the earlier job: put in what was committed last
                weights.update(self._model(hosted))
                self.info(f"Ringfort goes on after round {hosted.round} of {self.run}")
        if self._hosted is not None:
            self._hosted.ask(map(site_id, self._connected()))

    def accept_model(self, model: FLModel) -> None:
        """Keep what a site sent; nobody looks at it before all are there. A site's first answer stays."""
        site = (model.meta or {}).get("client_name")  # the controller's word, not the site's
        if not isinstance(site, str):
            raise Incompatible("a result without a site's name: use NVFlare's FedAvg controller")
        with self._lock:
            first = self._results.setdefault(site_id(site), model) is model
        if not first:
            self.warning(f"a second answer of {site} in one round is ignored")

    def aggregate_model(self) -> FLModel:
        """Judge, step, commit; the next global model, in full."""
        with self._lock:
            results, failures, sent = self._results, self._failures, self._sent
            asked = tuple(sorted(self._asked | set(results)))
        if sent is None:
            raise Incompatible("no train task was seen: use NVFlare's FedAvg controller")
        hosted = self._hosted or self._open(sent)
        self._same(hosted, sent)
        counted = set(hosted.ask(asked))
        answers: dict[ClientId, Answer | Failure] = {
            **{site: Failure(site, text) for site, text in failures.items()},
            **{site: _answer(model) for site, model in results.items()},
        }
        record = hosted.fuse(answers).record
        line, refusals = said(record)
        self.info(f"Ringfort, {line}")
        for refusal in refusals:
            self.warning(f"Ringfort {refusal}")
        metrics = medians(_metrics(model) for site, model in results.items() if site in counted)
        self._forget()
        return FLModel(params_type=ParamsType.FULL, params=self._model(hosted), metrics=metrics or None)

    def accept(self, *_: object) -> NoReturn:
        """Only ScatterAndGather calls this; it does not vouch for a result's sender.

        Raises:
            Incompatible (RF103): always.
        """
        raise Incompatible("RingfortAggregator works with NVFlare's FedAvg controller, not with ScatterAndGather")

    aggregate = reset = accept

    # ---- events: what the server itself sends, and errors that sites report

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note the model that is sent and to whom; make a site's error a failure of that site alone."""
        super().handle_event(event_type, fl_ctx)
        if event_type == AppEventType.BEFORE_TRAIN_TASK:
            self._note(fl_ctx)
        elif event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            self._spare(fl_ctx)
        elif event_type == EventType.END_RUN and self._hosted is not None:
            self._hosted.close()

    def _note(self, fl_ctx: FLContext) -> None:
        data = from_shareable(fl_ctx.get_prop(AppConstants.TRAIN_SHAREABLE)).data
        site = _peer(fl_ctx)
        with self._lock:
            self._sent = data
            if site in self._connected():
                self._asked.add(site_id(site))

    def _spare(self, fl_ctx: FLContext) -> None:
        """FedAvg ends the job for everybody when one site reports an error."""
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        code = result.get_return_code(ReturnCode.OK)
        if isinstance(code, str) and code == ReturnCode.OK:
            return
        site = _peer(fl_ctx)
        with self._lock:
            if self._sent is None:
                return  # not a round of ours
            if site in self._connected():  # an answer that comes under the site's own name counts before this
                self._failures[site_id(site)] = f"NVFlare return code {ascii(code)[:80]}"
        result.set_return_code(ReturnCode.OK)

    # ---- the model

    def _forget(self) -> None:
        with self._lock:
            self._results: dict[ClientId, FLModel] = {}
            self._failures: dict[ClientId, str] = {}
            self._asked: set[ClientId] = set()
            self._sent = None

    def _connected(self) -> list[str]:
        return [client.name for client in self.fl_ctx.get_engine().get_clients()]

    def _global_weights(self) -> dict[str, Any] | None:
        """The controller's own weights, the very mapping that it will send; None where it has no persistor yet."""
        learnable = self.fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        return None if learnable is None else learnable[ModelLearnableKey.WEIGHTS]

    def _open(self, weights: Mapping[str, Any]) -> Hosted:
        weights = _arrays(weights)
        strange = sorted(str(name) for name, tensor in weights.items() if not isinstance(tensor, np.ndarray))
        if strange or not all(isinstance(name, str) for name in weights):
            raise Incompatible(
                f"not NumPy arrays on the server: {', '.join(strange)}; leave server_expected_format at NUMPY"
            )
        made = self._given or read_walls(Path(str(self.recipe)))
        folder = None if self.run is None else Path(self.run)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._order = tuple(weights)
        self._hosted = Hosted(weights, made.defence, made.gate, f=made.f, journal=folder)
        return self._hosted

    def _model(self, hosted: Hosted) -> dict[str, Any]:
        """Copies of the tensors, in the controller's order."""
        tensors = hosted.tensors
        return {name: np.array(tensors[name]) for name in self._order}

    def _same(self, hosted: Hosted, sent: Mapping[str, Any]) -> None:
        ours = hosted.tensors
        if set(sent) != set(ours) or not all(np.array_equal(sent[name], tensor) for name, tensor in ours.items()):
            raise Incompatible(
                "the train task holds another model than the one committed last: use NVFlare's FedAvg controller with "
                "a persistor, and nothing else that changes the model between rounds"
            )


def _peer(fl_ctx: FLContext) -> str:
    peer = fl_ctx.get_peer_context()
    name = "" if peer is None else peer.get_identity_name()
    return name if isinstance(name, str) else ""


def _answer(model: FLModel) -> Answer:
    params = _arrays(model.params) if isinstance(model.params, dict) else {}
    claim = (model.meta or {}).get(FLMetaKey.NUM_STEPS_CURRENT_ROUND, 1)
    if isinstance(claim, np.integer | np.floating):
        claim = claim.item()
    return Answer(params, claim, difference=model.params_type == ParamsType.DIFF)


def _arrays(params: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy makes scalars of arrays without axes as soon as one counts with them."""
    return {name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in params.items()}


def _metrics(model: FLModel) -> Mapping[str, Any]:
    return model.metrics if isinstance(model.metrics, dict) else {}
