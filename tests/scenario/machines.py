"""Machines for tests: network namespaces with addresses of their own, joined by a bridge. Needs root and iproute2.

The server's NVFlare listens on its own loopback; HAProxy carries the sites' connections there, TLS and all, so the
operator's port is reached from no other machine.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOST = "coordinator.example"
BIN = Path(sys.executable).parent


def able():
    """Why there can be no machines here; empty if there can."""
    where = f"{os.defpath}:/usr/sbin"
    missing = [name for name in ("ip", "haproxy", "openssl") if shutil.which(name, path=where) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"rf{os.getpid()}probe"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    if done.returncode:
        return "network namespaces are not allowed here"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""


class Machines:
    """A server at .1 and sites from .2 on, each with a folder of its own."""

    def __init__(self, folder, sites):
        self.folder = folder
        self.sites = sites
        self._tag = f"rf{os.getpid()}"
        self._started = []
        self._spaces = []

    def __enter__(self):
        try:
            self._space("net")
            self._ip("net", "link", "add", "bridge", "type", "bridge")
            self._ip("net", "link", "set", "bridge", "up")
            for number, name in enumerate(("server", *self.sites), 1):
                self._join(name, number)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _space(self, name):
        subprocess.run(["ip", "netns", "add", self.space(name)], check=True)
        self._spaces.append(self.space(name))

    def space(self, name):
        """A namespace's name."""
        return f"{self._tag}{name}"

    def _ip(self, name, *words):
        subprocess.run(["ip", "-n", self.space(name), *words], check=True)

    def _join(self, name, number):
        self._space(name)
        inner, outer = f"{self._tag[:8]}i{number}", f"{self._tag[:8]}o{number}"
        subprocess.run(["ip", "link", "add", inner, "type", "veth", "peer", "name", outer], check=True)
        subprocess.run(["ip", "link", "set", inner, "netns", self.space(name)], check=True)
        subprocess.run(["ip", "link", "set", outer, "netns", self.space("net")], check=True)
        self._ip("net", "link", "set", outer, "master", "bridge", "up")
        self._ip(name, "addr", "add", f"10.77.0.{number}/24", "dev", inner)
        self._ip(name, "link", "set", inner, "up")
        self._ip(name, "link", "set", "lo", "up")
        at = "127.0.0.1" if name == "server" else "10.77.0.1"
        hosts = Path("/etc/netns") / self.space(name)
        hosts.mkdir(parents=True)
        (hosts / "hosts").write_text(f"127.0.0.1 localhost\n{at} {HOST}\n")
        (self.folder / name).mkdir()

    def _inside(self, name, words):
        return ["ip", "netns", "exec", self.space(name), *map(str, words)]

    def environment(self, name):
        """What a process on a machine is given."""
        passed = {key: os.environ[key] for key in ("PYTHONPATH", "LANG") if key in os.environ}
        home = {"HOME": str(self.folder / name), "RINGFORT_DATA": str(self.folder / name / "data")}
        return {**passed, **home, "PATH": f"{BIN}:{os.defpath}:/usr/sbin", "OMP_NUM_THREADS": "1"}

    def run(self, name, *words, check=True):
        """A command on a machine, in its folder."""
        done = subprocess.run(
            self._inside(name, words),
            cwd=self.folder / name,
            env=self.environment(name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if check and done.returncode:
            raise AssertionError(f"{name}$ {shlex.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, name, *words, **environment):
        """A process on a machine, that `close` ends."""
        with (self.folder / name / "process.log").open("ab") as log:
            process = subprocess.Popen(
                self._inside(name, words),
                cwd=self.folder / name,
                env={**self.environment(name), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def unit(self, name, kit, unit):
        """Start what a systemd unit of deploy/ starts, with its environment, for a kit in another place."""
        text = (ROOT / "deploy" / unit).read_text()
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        (folder,) = re.findall(r"^WorkingDirectory=(.*)$", text, re.MULTILINE)
        said = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^Environment=(?!PATH)(.*)$", text, re.MULTILINE))))
        return self.start(name, *shlex.split(command.replace(folder, str(kit))), **said)

    def pids(self, name):
        """Every process on a machine."""
        said = subprocess.run(["ip", "netns", "pids", self.space(name)], capture_output=True, text=True, check=True)
        return [int(pid) for pid in said.stdout.split()]

    def close(self):
        """End every process on every machine, then the machines."""
        for space in self._spaces:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                said = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
                pids = [int(pid) for pid in said.stdout.split()]
                if not pids:
                    break
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            subprocess.run(["ip", "netns", "del", space], check=False)
            shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)
        for process in self._started:
            process.wait(10)
