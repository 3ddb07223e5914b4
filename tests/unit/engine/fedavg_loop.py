"""NVFlare's own FedAvg controller in this process: its rounds, checks and updates; only the network is missing."""

import copy

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.signal import Signal
from nvflare.apis.utils.event import fire_event_to_components
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.fedavg import FedAvg


class Persistor(LearnablePersistor):
    """A model that is loaded and saved in memory."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.saved = weights, None

    def load(self, fl_ctx):
        return make_model_learnable(dict(self.weights), {})

    def save(self, learnable, fl_ctx):
        self.saved = learnable


class Engine:
    """What a controller and its components ask of an engine."""

    def __init__(self, clients, components, handlers):
        self.clients = [Client(name, name) for name in clients]
        self.components, self.handlers = components, handlers
        self.manager = FLContextManager(self, "server", "job")

    def get_clients(self):
        return self.clients

    def get_component(self, name):
        return self.components.get(name)

    def new_context(self):
        return self.manager.new_context()

    def fire_event(self, event, fl_ctx):
        fire_event_to_components(event, self.handlers, fl_ctx)


class Loop(FedAvg):
    """`train` of each site is called in turn, with the FLModel that it was sent, and returns what it sends back."""

    def __init__(self, aggregator, sites, weights, rounds, persistor=True, claims=None, **given):
        super().__init__(
            num_clients=len(sites), num_rounds=rounds, aggregator=aggregator,
            model=None if persistor else dict(weights), save_filename=None, **given,
        )  # fmt: skip
        self.sites, self.asked, self.sent = sites, [], []
        self.claims = claims or {}  # a name that a site gives itself in its context
        self.store = Persistor(weights)
        handlers = [] if aggregator is None else [aggregator]
        self.server = Engine(sites, {"persistor": self.store} if persistor else {}, handlers)

    def start(self):
        """The whole job; errors of the aggregator come out."""
        self.fl_ctx = self.server.new_context()
        self.abort_signal = Signal()
        self.server.fire_event(EventType.START_RUN, self.fl_ctx)
        try:
            self.start_controller(self.fl_ctx)
            self.run()
        finally:
            self.server.fire_event(EventType.END_RUN, self.server.new_context())
        return self

    def update_model(self, model, result):
        self.result = result
        self.after = super().update_model(model, result)
        return self.after

    def broadcast(self, task, fl_ctx, targets, **_):
        for name in targets:
            context = self.context(name)
            step = ClientTask(Client(name, name), task)
            task.before_task_sent_cb(step, context)
            self.asked.append(name)
            model = FLModelUtils.from_shareable(copy.deepcopy(task.data))
            self.sent.append(model.params)
            answers = self.sites[name](name, model)
            for answer in answers if isinstance(answers, list) else [answers]:
                if answer is None:
                    continue
                result = FLModelUtils.to_shareable(answer) if isinstance(answer, FLModel) else answer
                again = self.context(name)
                again.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
                self.server.fire_event(EventType.BEFORE_PROCESS_SUBMISSION, again)
                step.result = result
                task.result_received_cb(step, again)

    def context(self, name):
        peer = FLContext()
        peer.put(ReservedKey.IDENTITY_NAME, self.claims.get(name, name), private=False, sticky=False)
        context = self.server.new_context()
        context.set_peer_context(peer)
        return context

    def get_num_standing_tasks(self):
        return 0

    def panic(self, reason):
        raise RuntimeError(reason)
