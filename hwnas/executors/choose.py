"""The executor that settings ask for."""

from __future__ import annotations

from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from hwnas.executors.local import LocalExecutor

__all__ = ["open_executor"]


def open_executor(config: ExecutorConfig) -> Executor:
    """The executor, ready to work, to be used as a context.

    Raises MissingExtraError where Ray is not installed, and ExecutorError where a cluster does not answer, or has
    another version of hwnas.
    """
    if config.kind == "local":
        return LocalExecutor(config)
    from hwnas.executors.on_ray import RayExecutor

    return RayExecutor(config)
