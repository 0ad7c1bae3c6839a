"""Ray: one that is started on this machine and ends with the work, or a running cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from hwnas.errors import ExecutorError, MissingExtraError, choices
from hwnas.executors.config import ExecutorConfig, cores
from hwnas.executors.executor import Crew, Executor
from hwnas.executors.task import Outcome, Task
from hwnas.version import __version__

__all__ = ["RayExecutor"]

_PER_CPU = 2  # tasks given to Ray: a worker that is done finds its next one waiting
_RETRIES = 3  # of a task whose worker or node died; Ray's own default
_ANSWER_S = 5.0
_LOOK_S = 5.0  # between two looks whether the hosts that items are bound to are still there
_SHARE_OF_HOST = 0.001  # a task asks for so much of its host's resource: as many may be there as are given to it
_HTTP2_HELLO, _HTTP2_SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), b"\x04"
_NODES_S = 30.0  # a node starts a worker first, which takes seconds
# Its name says Windows and macOS: there Ray takes the loopback address for its node by default. Without it Ray replaces
# 127.0.0.1 by the machine's address in its network.
_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
_STORE_BYTES = 256 * 2**20  # of a Ray of our own: work and results are small, images are read by the workers


class RayExecutor(Executor):
    """Tasks of one CPU each. A worker or a node that dies costs what it was at: Ray does that again."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._ray = _imported(config)
        self._ours = not self._ray.is_initialized()  # else a sweep's launcher, or a notebook, has one
        if self._ours:
            _connect(self._ray, config)
        try:
            if config.address or not self._ours:
                _check_nodes(self._ray)
            available = int(self._ray.cluster_resources().get("CPU", 0))
            if not available:
                raise ExecutorError("executor=ray: the cluster has no CPU to work on: start workers with ray start")
        except BaseException:
            self._leave()
            raise
        workers = min(config.workers or available, available)
        # Ray lets no more work at once than there are CPUs; fewer work at once where no more are given to it.
        super().__init__(workers, 1, _PER_CPU * workers if workers == available else workers)

    def _crew(self, title: str, task: Task[Any, Any]) -> Crew:
        return _Tasks(self._ray, title, task)

    def check_hosts(self, hosts: Collection[str]) -> None:
        """Raises ExecutorError, with those that there are, for a host that no node has as a resource."""
        if missing := sorted(set(hosts) - set(found := _hosts(self._ray))):
            raise ExecutorError(
                f"executor=ray: no node with the resource {missing[0]!r}: {choices(missing[0], found)}; start the node"
                f" that it stands for with ray start --address=… --resources='{{\"{missing[0]}\": 1}}'"
            )

    def close(self) -> None:
        """End what is under way, and Ray where it was started or connected here."""
        try:
            super().close()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._ours:
            self._ray.shutdown()


class _Tasks(Crew):
    def __init__(self, ray: ModuleType, title: str, task: Task[Any, Any]) -> None:
        self._ray, self._title, self._key = ray, title, uuid4().hex
        settled = Task(task.make, partial(_settle, str(Path.cwd()), _own_variables(), task.begin))
        self._task = ray.put(settled)  # a node fetches it once
        self._call = ray.remote(_call)
        self._options = {"max_retries": _RETRIES, "name": title}
        self._host_of: dict[Any, str] = {}

    def submit(self, item: Any, host: str | None) -> Any:
        # What is bound to a host waits for a device there, and takes none of the cores that others work on.
        place: dict[str, Any] = (
            {"num_cpus": 1} if host is None else {"num_cpus": 0, "resources": {host: _SHARE_OF_HOST}}
        )
        handle = self._call.options(**self._options, **place).remote(self._key, [self._task], item)
        if host is not None:
            self._host_of[handle] = host
        return handle

    def finished(self, handles: Collection[Any]) -> Sequence[Any]:
        while True:
            done: Sequence[Any] = self._ray.wait(list(handles), num_returns=1, timeout=_LOOK_S)[0]
            if gone := done or [one for one in handles if self._is_gone(one)]:
                return gone

    def _is_gone(self, handle: Any) -> bool:
        """Whether it is bound to a host that has left: Ray would wait for it for ever."""
        return handle in self._host_of and self._host_of[handle] not in _hosts(self._ray)

    def outcome(self, handle: Any) -> Outcome[Any]:
        if not self._ray.wait([handle], timeout=0)[0]:
            self.end([handle])
            raise ExecutorError(f"{self._title}: {self._host_of[handle]} is no longer a node of the cluster")
        try:
            outcome: Outcome[Any] = self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(
                f"{self._title}: workers died {1 + _RETRIES} times over the same piece of work, killed for want of"
                f" memory or crashed in a library ({_first_line(error)}): give each more memory, or fewer"
                " executor.workers, and run again; what is finished is kept"
            ) from error
        return outcome

    def end(self, handles: Collection[Any]) -> None:
        for handle in list(handles):
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(handle, force=True)


def _hosts(ray: ModuleType) -> list[str]:
    """The resources that nodes have of their own."""
    return [name for name in ray.cluster_resources() if name not in ("CPU", "GPU", "memory", "object_store_memory")]


_tasks: dict[str, Task[Any, Any]] = {}  # of a worker: what it was last given


def _call(key: str, place: Sequence[Any], item: Any) -> Outcome[Any]:
    if key not in _tasks:
        import ray

        _tasks.clear()  # it may hold images and weights
        _tasks[key] = ray.get(place[0])
    return _tasks[key](item)


def _settle(folder: str, variables: dict[str, str], begin: Callable[[], object]) -> None:
    """What processes of this machine inherit: the folder that paths are relative to, and hwnas's own variables."""
    os.chdir(folder)
    os.environ.update(variables)
    begin()


def _own_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("HWNAS_")}


def _imported(config: ExecutorConfig) -> ModuleType:
    # It reads these when it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning about it
    if config.address is None:
        os.environ.setdefault(*_LOOPBACK)
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "executor=ray") from error
    return ray


def _connect(ray: ModuleType, config: ExecutorConfig) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "include_dashboard": False}
    with _handlers_kept():
        if config.address is None:
            ray.init(
                address="local", _node_ip_address="127.0.0.1", num_cpus=config.workers or cores(), num_gpus=0,
                object_store_memory=_STORE_BYTES, **quiet,
            )  # fmt: skip
            return
        _check_answer(config.address)
        try:
            ray.init(address=config.address, **quiet)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ExecutorError(
                f"executor.address={config.address}: no Ray cluster that this machine is a node of"
                f" ({_first_line(error)}): run ray start --address={config.address} here, with the Ray"
                f" {ray.__version__} and the Python of its other nodes"
            ) from error


def _check_answer(address: str) -> None:
    # Ray itself waits for minutes for a port that is silent.
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(_HTTP2_HELLO)
            is_ray = bool(os.environ.get("RAY_USE_TLS")) or connection.recv(9)[3:4] == _HTTP2_SETTINGS
    except OSError as error:
        raise ExecutorError(
            f"executor.address={address} does not answer ({error.strerror or error}): start Ray there, ray start"
            " --head, or give the address that it printed"
        ) from error
    if not is_ray:
        raise ExecutorError(
            f"executor.address={address}: something else than Ray answers there: give the address that ray start --head"
            " printed"
        )


def _check_nodes(ray: ModuleType) -> None:
    """ExecutorError for a node that lacks this version of hwnas, or the folder that paths are relative to."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def about(folder: str) -> tuple[str | None, bool]:
        # Inside a function it is sent as it is: a node without hwnas could not import it.
        import os
        from contextlib import suppress

        version: str | None = None
        with suppress(ImportError):
            from hwnas.version import __version__ as found

            version = found
        return version, os.path.isdir(folder)  # noqa: PTH112

    here = str(Path.cwd())
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = {
        ray.remote(about)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(here): node["NodeManagerHostname"]
        for node in nodes
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_NODES_S) if asked else ([], [])
    if silent:
        names = ", ".join(sorted(asked[one] for one in silent))
        raise ExecutorError(f"executor=ray: no answer from {names} within {_NODES_S:g} s: see ray status there")
    for one in answered:
        try:
            version, has_folder = ray.get(one)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            continue  # it has left the cluster, which notices that late
        except ray.exceptions.RayError as error:
            raise ExecutorError(f"executor=ray: {asked[one]} can't work ({_first_line(error)})") from error
        if version != __version__:
            has = "is not installed" if version is None else f"is {version}"
            raise ExecutorError(
                f"executor=ray: hwnas {has} on {asked[one]}, expected {__version__} as here: install that on every node"
            )
        if not has_folder:
            raise ExecutorError(
                f"executor=ray: {asked[one]} has no folder {here}: expected one file system that all nodes share, where"
                " images and runs lie"
            )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    # Ray takes SIGTERM for itself, and leaves by SystemExit.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
