"""Lost and stalled processes of a distributed run, recognized by connections that end with their process."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from accelerate import Accelerator

from vidpred.errors import DistributedError, VidpredError, one_line
from vidpred.files import read_json

CONNECT_SECONDS = 10.0
NOTICE_SECONDS = 3.0  # between the failure of a collective operation and the end of the lost process's connection
HELLO, NUMBER = struct.Struct("!qi"), struct.Struct("!i")


class Peers:
    """The other processes of a run; a context in which errors that they cause become `DistributedError`.

    Every process is connected with the main one. The kernel closes the connections of a process that ends, for whatever
    reason, and the main process reports to all which one was lost. So no text of an error is interpreted.
    """

    def __init__(self, run: Path, timeout_seconds: float) -> None:
        """Store where the processes of the run leave their exit codes, and how long they wait for each other."""
        self.run, self.timeout_seconds = run, timeout_seconds
        self._lost: int | None = None
        self._noticed = threading.Event()
        self._connections: dict[socket.socket, int] = {}
        self._connected = False
        self._previous: Any = None  # the handler of SIGTERM
        self._began = self._progressed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        failure = self._explain(error) if isinstance(error, Exception) else None
        if failure is None and self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
        for connection in self._connections:
            connection.close()
        if failure is not None:
            raise failure from error

    def progress(self) -> None:
        """Record that a step begins: all processes have finished the one before."""
        self._progressed = time.monotonic()

    def connect(self, accelerator: Accelerator) -> None:
        """Connect with the other processes, and from then on notice when one is lost."""
        if accelerator.num_processes == 1:
            return
        host = os.environ.get("MASTER_ADDR", "localhost")
        server = _listen(host) if accelerator.is_main_process else None
        port = server.getsockname()[1] if server else 0
        address = torch.tensor([port, secrets.randbits(62)], device=accelerator.device)
        torch.distributed.broadcast(address, 0)
        port, token = address.tolist()
        if server:
            self._connections = _accept(server, accelerator.num_processes - 1, token)
        else:
            connection = _call(host, port, HELLO.pack(token, accelerator.process_index))
            self._connections = {connection: 0} if connection else {}
        self._connected = True
        self.progress()
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=self._watch, args=(dict(self._connections),), daemon=True).start()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """End on SIGTERM, but not before a loss is reported: launchers send it to all processes once one is lost."""
        if not self._noticed.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _watch(self, connections: dict[socket.socket, int]) -> None:
        with selectors.DefaultSelector() as selector:
            for connection, number in connections.items():
                selector.register(connection, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select():
                    connection = next(other for other in connections if other is key.fileobj)
                    report = _receive(connection)
                    if not report:
                        selector.unregister(connection)
                    self._notice(NUMBER.unpack(report)[0] if len(report) == NUMBER.size else key.data)

    def _notice(self, number: int) -> None:
        """Record the first loss, and report it to all."""
        if self._noticed.is_set():
            return
        self._lost = number
        self._noticed.set()
        for connection in self._connections:
            _send(connection, NUMBER.pack(number))

    def _explain(self, error: Exception) -> DistributedError | None:
        """Return what to report instead of an error; None if no other process is its cause."""
        if isinstance(error, VidpredError):
            return None
        if not self._connected:
            if not isinstance(error, torch.distributed.DistError):
                return None
            return DistributedError(f"the processes cannot connect [{one_line(error)[:80]}]; start the run again")
        if time.monotonic() - self._progressed >= self.timeout_seconds:
            return DistributedError(
                f"another process did nothing for training.peer_timeout_seconds={self.timeout_seconds:g}; "
                "the same command resumes the run"
            )
        if not self._noticed.wait(NOTICE_SECONDS):
            return None
        return DistributedError(f"process {self._lost} was lost{self._cause()}; the same command resumes the run")

    def _cause(self) -> str:
        name = f"exit-process-{self._lost}.json" if self._lost else "exit.json"
        try:
            if (self.run / name).stat().st_mtime > time.time() - (time.monotonic() - self._began):
                return f" [{str(read_json(self.run / name, 1 << 16)['message'])[:100]}]"
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return ""


def _listen(host: str) -> socket.socket | None:
    try:
        family, *_ = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        server = socket.create_server((host, 0), family=family)
        server.settimeout(CONNECT_SECONDS)
        return server
    except OSError:
        return None  # a lost process is noticed only where its connections fail


def _accept(server: socket.socket, count: int, token: int) -> dict[socket.socket, int]:
    """Return the connections of up to `count` processes that know the token, with their numbers."""
    found: dict[socket.socket, int] = {}
    with server:
        while len(found) < count:
            try:
                connection, _ = server.accept()
            except OSError:
                break
            connection.settimeout(CONNECT_SECONDS)
            hello = _receive(connection, HELLO.size)
            if len(hello) == HELLO.size and HELLO.unpack(hello)[0] == token:
                found[connection] = HELLO.unpack(hello)[1]
            else:
                connection.close()
    return found


def _call(host: str, port: int, hello: bytes) -> socket.socket | None:
    try:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError:
        return None
    _send(connection, hello)
    return connection


def _receive(connection: socket.socket, size: int = NUMBER.size) -> bytes:
    """Return what arrived; nothing if the other side has ended."""
    try:
        return connection.recv(size)
    except OSError:
        return b""


def _send(connection: socket.socket, content: bytes) -> None:
    try:
        connection.sendall(content)
    except OSError:
        return
