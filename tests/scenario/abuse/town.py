"""A real federation behind signatures, over a loopback of bytes on which anybody may stand in the way."""

from dataclasses import replace

from ringfort.audit.history import Keys, check_history, read_kept, read_taken
from ringfort.core import Reply
from ringfort.engine import SignedNode
from ringfort.engine.in_process import answer
from ringfort.rounds import Journal

MOST = 20_000


class Turned:
    """A client under an attacker's control: it is enrolled, and signs whatever the trick says."""

    def __init__(self, honest, trick):
        self.client, self._honest, self._trick = honest.client, honest, trick

    def handle(self, stage, payload):
        said = self._trick(self.client, payload, lambda: self._honest.handle(stage, payload))
        if said is None:
            raise RuntimeError("silent")
        return said.body


class Post:
    """Carries bytes. `asked` and `said` are whoever stands on the way: (client, stage, message) -> message or None."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.asked = self.said = lambda client, stage, message: message
        self.letters = []
        self.closed = False

    def members(self):
        return tuple(self.nodes)

    def exchange(self, stage, payloads, deadline_s):
        out = {}
        for client in payloads:
            message = self.asked(client, stage, payloads[client])
            if message is None:
                continue
            reply = answer(client, self.nodes[client].handle, stage, message)
            if isinstance(reply, Reply):
                self.letters.append((client, stage, message, reply.body))
                body = self.said(client, stage, reply.body)
                if body is None:
                    continue
                reply = Reply(client, body)
            out[client] = reply
        return out

    def close(self):
        self.closed = True


class Town:
    def __init__(self, toy, enrolled, folder, start, n=5):
        self.toy, self.folder, self.now = toy, folder, start
        self.people = replace(enrolled, folder=folder / "people")
        self.names = toy.names(n)
        (folder / "run").mkdir()
        self.clients = {client.client: client for client in toy.local_clients(n)}
        self.sides = {}
        for name in self.names:
            self.restart_client(name)
        self.post = Post({name: SignedNode(self.clients[name], self.sides[name]) for name in self.names})
        self.restart_server()

    def clock(self):
        return self.now

    def restart_client(self, name):
        """Its process starts again: only what is on disk is left."""
        home = self.folder / "kept" / name
        home.mkdir(parents=True, exist_ok=True)
        self.sides[name] = self.people.side(name, clock=self.clock, most=MOST, folder=home)
        if hasattr(self, "post"):
            self.post.nodes[name] = SignedNode(self.clients[name], self.sides[name])

    def restart_server(self):
        self.server = self.people.exchange(self.post, clock=self.clock, most=MOST, folder=self.folder / "run")

    def turn(self, name, trick):
        """`name` is hostile from now on."""
        self.post.nodes[name] = SignedNode(Turned(self.clients[name], trick), self.sides[name])

    def states(self, rounds=3, **changes):
        with Journal(self.folder / "run") as journal:
            made = self.toy.federation(exchange=self.server, journal=journal, rounds=rounds, **changes)
            yield from made.states()

    def run(self, rounds=3, **changes):
        *_, last = self.states(rounds, **changes)
        return last

    def records(self):
        with Journal(self.folder / "run") as journal:
            return journal.records[1:]

    def history(self, **given):
        keys = Keys.of(self.people.view().state(self.now), self.people.authority, self.people.server)
        kept = [read_kept(name, self.folder / "kept" / name) for name in self.names]
        return check_history(self.folder / "run", read_taken(self.folder / "run"), kept, keys, **given)

    def held(self, culprit, reason, code, rounds=3):
        """Every round was committed; the culprit was refused for this reason in each, and everybody else counted."""
        records = self.records()
        assert [record.round for record in records] == list(range(1, rounds + 1))
        for record in records:
            assert [(r.client, r.reason, r.code) for r in record.refusals] == [(culprit, reason, code)]
            assert [v.client for v in record.verdicts] == [name for name in self.names if name != culprit]
        self.server.close()
        assert self.history().faults == ()

    def written(self):
        """All that the server wrote down, in bytes."""
        return b"".join(path.read_bytes() for path in (self.folder / "run").glob("*.json*"))
