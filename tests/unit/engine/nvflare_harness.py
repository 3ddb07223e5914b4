"""Runs an exchange in a real NVFlare job and drives it from a test: handlers stay in the test's process.

test process                     server's job process            a client's job process
Remote.exchange --unix socket--> `serve` -> NVFlareExchange ----> `node` --unix socket--> handlers[name]
"""

import os
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

import cbor2

from ringfort.core import Failure, Reply
from ringfort.core.errors import JobAborted
from ringfort.engine.nvflare.exchange import NVFlareExchange

HEAD = struct.Struct(">Q")
KINDS = {"ValueError": ValueError, "SystemExit": SystemExit}


def send(link, value):
    body = cbor2.dumps(value)
    link.sendall(HEAD.pack(len(body)) + body)


def receive(link):
    def exactly(size):
        parts = bytearray()
        while len(parts) < size:
            part = link.recv(min(1 << 20, size - len(parts)))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    return cbor2.loads(exactly(HEAD.unpack(exactly(HEAD.size))[0]))


def connect(path):
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    return link


# ---- in the job's processes


@dataclass
class Relay:
    """A node whose answers come from the test's process; errors are raised here."""

    client: str
    path: str

    def handle(self, stage, payload):
        if stage == "die":
            os._exit(9)
        if stage == "pid":
            return str(os.getpid()).encode()
        with connect(self.path) as link:
            send(link, [self.client, stage, payload])
            kind, value = receive(link)
        return raises(*value) if kind == "raises" else value


def raises(kind, text):
    raise KINDS[kind](text)


def node(arguments):
    return Relay(arguments["client"], arguments["socket"])


def serve(arguments, job):
    exchange = NVFlareExchange(
        job.calls, tuple(job.calls), job.aborted, max_reply_bytes=arguments["max_reply_bytes"], patience_s=60.0
    )
    with connect(arguments["socket"]) as link:
        send(link, ["server"])
        while True:
            try:
                word, *rest = receive(link)
            except EOFError:
                return
            if word == "members":
                send(link, list(exchange.members()))
                continue
            try:
                got = exchange.exchange(*rest)
            except JobAborted as error:
                send(link, ["aborted", str(error)])
                continue
            send(link, ["got", [_pack(reply) for reply in got.values()]])


def _pack(reply):
    if isinstance(reply, Reply):
        return ["reply", reply.client, reply.body]
    return ["failure", reply.client, reply.error, reply.traceback]


# ---- in the test's process


class Hub:
    """Answers for the nodes, and speaks to the server's side."""

    def __init__(self, path: Path):
        self.path = str(path)
        self.handlers = {}
        self.server = None
        self.ready = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(link,), daemon=True).start()

    def _talk(self, link):
        try:
            said = receive(link)
            if said == ["server"]:
                self.server = link
                self.ready.set()
                return
            name, stage, payload = said
            try:
                answer = ["returns", self.handlers[name](stage, payload)]
            except BaseException as error:
                answer = ["raises", [type(error).__name__, str(error).encode(errors="replace").decode()]]
            with link:
                send(link, answer)
        except (OSError, EOFError):
            pass

    def close(self):
        self.listener.close()
        if self.server is not None:
            self.server.close()


class Remote:
    """The exchange of the job, as the test sees it."""

    def __init__(self, hub, handlers):
        self.hub = hub
        hub.handlers = handlers
        assert hub.ready.wait(60), "the server's side did not connect"

    def members(self):
        send(self.hub.server, ["members"])
        return tuple(receive(self.hub.server))

    def exchange(self, stage, payloads, deadline_s):
        send(self.hub.server, ["exchange", stage, dict(payloads), deadline_s])
        word, said = receive(self.hub.server)
        if word == "aborted":
            raise JobAborted(said)
        return {c[1]: Reply(*c[1:]) if c[0] == "reply" else Failure(*c[1:]) for c in said}

    def close(self):
        pass
