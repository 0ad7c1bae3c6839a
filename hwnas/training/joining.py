"""How the processes that torchrun started find each other, anew after each restart, and which of them says an error.

They meet in the key-value store of torchrun's agents, which outlives restarts: what an earlier process left there is
told apart by a nonce of each process's own.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from hwnas.errors import ProcessLostError

__all__ = ["is_said_here", "join", "lost_said"]

_FAILED = "failed"
_COMES_WITHIN_S = 300.0  # before they meet, all of them compose settings and look at the data
_AGAIN_WITHIN_S = 120.0  # one that failed is perhaps being started again
_SAID_WITHIN_S = 10.0  # the same by several processes; torchrun ends them all soon after the first
_POLL_S = 0.05


@contextmanager
def lost_said() -> Iterator[None]:
    """What is exchanged with the others within: that it failed is said in hwnas's words, as ProcessLostError."""
    try:
        yield
    except RuntimeError as error:  # torch has no narrower one for a connection that is gone
        raise ProcessLostError(
            "another process of this training ended or does not answer: torchrun's report says which; the same command"
            " goes on from the last checkpoint"
        ) from error


def join(rank: int, count: int) -> Store:
    """Wait for the other processes, and return a store that nobody but these ever used.

    Raises ProcessLostError where one of them ended before it came, or does not come.
    """
    with lost_said():
        store = _agents_store(timeout_s=60)
        mine, agreed = secrets.token_hex(8), ""
        store.set(_place(rank), mine)
        began, failed_since = time.monotonic(), 0.0
        while True:
            come = _come(store, count)
            if rank == 0 and len(come) == count:
                store.set("hwnas/plan", " ".join(come))
            plan = _read(store, "hwnas/plan")
            # One that holds a former process's nonce is not agreed to by all: that process is no more.
            if plan.split()[rank : rank + 1] == [mine]:
                key = f"hwnas/{_digest(plan)}"
                if plan != agreed:
                    agreed = plan
                    store.add(key, 1)
                if store.add(key, 0) == count:
                    return PrefixStore(key, store)
            now = time.monotonic()
            failed_since = (failed_since or now) if _FAILED in come else 0.0
            if now - began > _COMES_WITHIN_S or (failed_since and now - failed_since > _AGAIN_WITHIN_S):
                raise RuntimeError(f"{len(come)} of {count} processes came")
            time.sleep(_POLL_S)


def is_said_here(message: str, is_lost: bool = False) -> bool:
    """Whether this process is the one that says an error: the first of those that have the same one to say.

    What only follows (`is_lost`: the others were lost, torchrun ended this one) is not said where one of them has just
    said why it ended.
    """
    try:
        store = _agents_store(timeout_s=3)
        store.set(_place(int(os.environ["RANK"])), _FAILED)
        if is_lost and _is_recent(_read(store, "hwnas/said"), _AGAIN_WITHIN_S):
            return False
        key, mine = f"hwnas/said/{_digest(message)}", f"{time.time()} {secrets.token_hex(4)}"
        before = _read(store, key)
        if _is_recent(before, _SAID_WITHIN_S) or store.compare_set(key, before, mine).decode() != mine:
            return False
        store.set("hwnas/said", mine)
    except RuntimeError:  # the agent is gone: twice is better than not at all
        return True
    return True


def _agents_store(timeout_s: float) -> TCPStore:
    """torchrun's agents hold it; where they are told not to, the first process does."""
    holds = os.environ["RANK"] == "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=holds, multi_tenant=holds,
        wait_for_workers=False, timeout=timedelta(seconds=timeout_s),
    )  # fmt: skip


def _come(store: Store, count: int) -> list[str]:
    """The nonces of the processes in their order; those that are there alone until all are."""
    places = [_place(rank) for rank in range(count)]
    if not store.check(places):
        places = [place for place in places if store.check([place])]
    return [value.decode() for value in store.multi_get(places)] if places else []


def _place(rank: int) -> str:
    return f"hwnas/come/{rank}"


def _read(store: Store, key: str) -> str:
    """Empty where there is nothing; a plain `get` would wait."""
    return store.get(key).decode() if store.check([key]) else ""


def _is_recent(said: str, within_s: float) -> bool:
    """Whether a line was said so lately; clocks of machines may differ by as much."""
    return bool(said) and abs(time.time() - float(said.split()[0])) < within_s


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
