"""Processes under measurement: a server, its client, and what the kernel says about the server."""

import multiprocessing
import os
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 15
ACTION_SECONDS = 300
ADDRESS = re.compile(r"grpc://[\w.:\[\]-]+(?=.*\n)")


@dataclass
class Sample:
    """One timed action: seconds on the client's clock, and the server's CPU seconds and peak memory so far (MB)."""

    wall: float
    rows: int
    cpu: float
    peak: float
    first: float | None = None


class Server:
    """A server process that says `grpc://HOST:PORT` on a line of its output once it listens."""

    def __init__(self, command: list, log: Path):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self.uri = self.wait_for_address()
        except BaseException:
            self.stop()
            raise

    def wait_for_address(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := ADDRESS.search(self.log.read_text(errors="replace")):
                return found[0]
            time.sleep(0.01)
        raise RuntimeError(f"{self.process.args[0]} did not start:\n{self.last_words()}")

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def cpu(self) -> float:
        """User and system seconds so far, of all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> float:
        """The largest resident set so far, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Client:
    """The process that runs client.py. Spawned, not forked: gRPC does not survive a fork."""

    def __init__(self):
        import client  # Not above: run.py loads this module before it has entered the environment with pyarrow.

        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=client.serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, operation: str, arguments: dict) -> None:
        self.pipe.send((operation, arguments))

    def answer(self) -> dict:
        if not self.pipe.poll(ACTION_SECONDS):
            raise TimeoutError(f"no answer within {ACTION_SECONDS} s")
        answer = self.pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def in_one(clients: list[Client], operation: str, arguments: dict) -> dict:
    """What the first client measures by its own clock."""
    clients[0].begin(operation, arguments)
    return clients[0].answer()


def in_all(clients: list[Client], operation: str, arguments: dict) -> dict:
    """All clients do the same: the time from when all were told to when the last is done.

    They wait for their orders, and after a warm-up are connected too. `first` is that of the client served last.
    """
    start = time.perf_counter()
    for client in clients:
        client.begin(operation, arguments)
    answers = [client.answer() for client in clients]
    wall = time.perf_counter() - start
    return {"wall": wall, "first": max(a["first"] for a in answers), "rows": sum(a["rows"] for a in answers)}


class Side:
    """One side of a comparison: a server on a root of its own, and the clients that talk to it, mostly one.

    The root holds hard links to `files`, so both sides read the same pages of the page cache and neither can see, or
    overwrite by name, what the other stored. `command` makes the server's command line from the root.
    """

    def __init__(self, name: str, command, work: Path, files=(), clients: int = 1):
        self.name, self.command = name, command
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="side-", dir=work)))
            self.root, self.log = scratch / "root", scratch / "log"
            self.root.mkdir()
            for file in files:
                os.link(file, self.root / file.name)
            self.clients = []
            for _ in range(clients):
                self.clients.append(Client())
                stack.callback(self.clients[-1].stop)
            self.server = Server(self.command(self.root), self.log)
            stack.callback(lambda: self.server.stop())  # the one that runs by then: see restart()
            self.cleanup = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cleanup.close()

    def restart(self) -> "Side":
        """A fresh server process on the same root."""
        self.server.stop()
        self.server = Server(self.command(self.root), self.log)
        return self

    def run(self, operation: str, measure=in_one, **arguments) -> Sample:
        """The operation as `measure` has it done, and what it costs the server."""
        before = self.server.cpu()
        try:
            figures = measure(self.clients, operation, {"uri": self.server.uri, **arguments})
        except (RuntimeError, TimeoutError, EOFError) as error:
            raise RuntimeError(f"{self.name}: {operation}: {error}\n{self.server.last_words()}") from error
        return Sample(cpu=self.server.cpu() - before, peak=self.server.peak(), **figures)
