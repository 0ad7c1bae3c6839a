"""A stand-in for adbd, the part of ADB that runs on a phone, since no phone is attached where tests run.

It speaks the device side of ADB's protocol over TCP to the real adb client: connecting, streams, the shell service
(version 2, with exit status) and the file service (stat, send). Commands run in this machine's shell, in a folder of
their own. The protocol is described in AOSP's `packages/modules/adb` (protocol.txt, SYNC.TXT, shell_protocol.h).
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Phone", "serve"]

VERSION, MAX_DATA = 0x01000000, 256 * 1024
BANNER = b"device::ro.product.name=standin;ro.product.model=standin;ro.product.device=standin;features=shell_v2,cmd"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


@dataclass
class Phone:
    """A listening stand-in. `capacity`: bytes that may be pushed before its disk counts as full."""

    listener: socket.socket
    folder: Path
    capacity: int | None = None
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self) -> None:
        """Cuts the connections, as a pulled cable does."""
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def close(self) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()


def serve(folder: Path) -> Phone:
    """Starts a stand-in on a port of loopback; its shell starts in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    phone = Phone(socket.create_server(("127.0.0.1", 0)), folder)

    def accept() -> None:
        while True:
            try:
                connection, _ = phone.listener.accept()
            except OSError:
                return
            phone.connections.append(connection)
            threading.Thread(target=_Connection(connection, phone).run, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return phone


class _Connection:
    """One adb server's connection, with its streams by the number that each side gave."""

    def __init__(self, connection: socket.socket, phone: Phone) -> None:
        self.connection = connection
        self.phone = phone
        self.lock = threading.Lock()
        self.streams: dict[int, _Stream] = {}

    def run(self) -> None:
        try:
            while header := self._receive(24):
                command, first, second, length = struct.unpack("<4sIII", header[:16])
                self._handle(command, first, second, self._receive(length))
        except OSError:
            pass
        finally:
            for stream in self.streams.values():
                stream.close()
            self.connection.close()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        header = struct.pack("<4sIIIII", command, first, second, len(data), sum(data) & 0xFFFFFFFF, magic)
        with self.lock:
            self.connection.sendall(header + data)

    def _receive(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self.connection.recv(count - len(content))
            if not part:
                raise OSError("closed")
            content += part
        return content

    def _handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            self.send(b"CNXN", VERSION, MAX_DATA, BANNER)
        elif command == b"OPEN":
            number = len(self.streams) + 1
            stream = _Stream(self, number, first)
            self.streams[number] = stream
            self.send(b"OKAY", number, first)
            stream.open(data.rstrip(b"\0").decode())
        elif second in self.streams:
            stream = self.streams[second]
            if command == b"WRTE":
                self.send(b"OKAY", second, first)
                stream.received(data)
            elif command == b"OKAY":
                stream.ready.release()
            elif command == b"CLSE":
                stream.close()


class _Stream:
    """One service. `write` waits for the client's OKAY, as the protocol asks."""

    def __init__(self, connection: _Connection, number: int, peer: int) -> None:
        self.connection, self.number, self.peer = connection, number, peer
        self.ready = threading.Semaphore(1)
        self.process: subprocess.Popen[bytes] | None = None
        self.pending = b""
        self.target: Path | None = None
        self.content = b""
        self.failed = False

    def open(self, service: str) -> None:
        if service.startswith("shell"):
            kind, _, command = service.partition(":")
            threading.Thread(target=self._shell, args=(command, "v2" in kind), daemon=True).start()
        elif not service.startswith("sync:"):
            self.connection.send(b"CLSE", 0, self.peer)

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA // 4):
            self.ready.acquire()
            self.connection.send(b"WRTE", self.number, self.peer, data[start : start + MAX_DATA // 4])

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGHUP)  # as adbd does to the shell of a client that went away

    def received(self, data: bytes) -> None:
        self.pending += data
        if self.process is not None:
            self._input()
        else:
            self._sync()

    # ---- shell ------------------------------------------------------------------------------------------------------

    def _shell(self, command: str, framed: bool) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", command], cwd=self.connection.phone.folder, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        threads = [
            threading.Thread(target=self._pump, args=(pipe, kind, framed), daemon=True)
            for pipe, kind in ((self.process.stdout, STDOUT), (self.process.stderr, STDERR))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        status = self.process.wait()
        try:
            if framed:
                self.write(struct.pack("<BIB", EXIT, 1, status & 0xFF))
            self.ready.acquire()
            self.connection.send(b"CLSE", self.number, self.peer)
        except OSError:
            pass

    def _pump(self, pipe: object, kind: int, framed: bool) -> None:
        descriptor = pipe.fileno()  # type: ignore[attr-defined]
        try:
            while content := os.read(descriptor, 1 << 14):
                self.write(struct.pack("<BI", kind, len(content)) + content if framed else content)
        except OSError:
            self.close()

    def _input(self) -> None:
        while len(self.pending) >= 5:
            kind, length = struct.unpack("<BI", self.pending[:5])
            if len(self.pending) < 5 + length:
                return
            content, self.pending = self.pending[5 : 5 + length], self.pending[5 + length :]
            pipe = self.process.stdin if self.process else None
            if pipe is None or pipe.closed:
                continue
            try:
                if kind == STDIN:
                    pipe.write(content)
                    pipe.flush()
                elif kind == CLOSE_STDIN:
                    pipe.close()
            except OSError:
                continue

    # ---- sync -------------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        while len(self.pending) >= 8:
            command, number = struct.unpack("<4sI", self.pending[:8])
            takes = 0 if command in (b"DONE", b"QUIT") else number
            if len(self.pending) < 8 + takes:
                return
            argument, self.pending = self.pending[8 : 8 + takes], self.pending[8 + takes :]
            answer = self._answer(command, argument)
            if answer:
                # In a thread: the client's OKAY, which write waits for, comes through this one.
                threading.Thread(target=self.write, args=(answer,), daemon=True).start()

    def _answer(self, command: bytes, argument: bytes) -> bytes:
        if command == b"STAT":
            path = Path(argument.decode())
            found = path.stat() if path.exists() else None
            values = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
            return struct.pack("<4sIII", b"STAT", *values)
        if command == b"SEND":
            self.target, self.content, self.failed = Path(argument.decode().rpartition(",")[0]), b"", False
        elif command == b"DATA":
            self.content += argument
        elif command == b"DONE" and self.target is not None:
            return self._store(self.target)
        elif command == b"QUIT":
            self.connection.send(b"CLSE", self.number, self.peer)
        return b""

    def _store(self, target: Path) -> bytes:
        capacity = self.connection.phone.capacity
        if capacity is not None and len(self.content) > capacity:
            message = b"write failed: No space left on device"
            return struct.pack("<4sI", b"FAIL", len(message)) + message
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.content)
        return struct.pack("<4sI", b"OKAY", 0)
