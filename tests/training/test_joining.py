"""Processes meet in a store that outlives them: here threads are the processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from hwnas.errors import ProcessLostError
from hwnas.training import joining
from hwnas.training.joining import is_said_here, join
from tests.training.launching import free_port


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    port = free_port()
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))
    environment = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "1", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return store


def met(count: int) -> list[Store]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda rank: join(rank, count), range(count)))


def test_all_get_one_store_which_nobody_used_before(store: TCPStore) -> None:
    rounds = [met(3) for _ in range(3)]
    for number, together in enumerate(rounds):
        assert not together[1].check(["rank"])
        together[0].set("rank", str(number))
        assert {one.get("rank") for one in together} == {str(number).encode()}
    assert met(2)[0].check(["rank"]) is False


def test_one_that_came_before_a_restart_is_not_met(store: TCPStore) -> None:
    store.set("hwnas/come/1", "the nonce of a process that is no more")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(join, 0, 2)
        with pytest.raises(TimeoutError):
            first.result(timeout=0.5)
        second = pool.submit(join, 1, 2)
        first.result(timeout=10).set("there", "yes")
        assert second.result(timeout=10).check(["there"])


@pytest.mark.parametrize("failed", [True, False], ids=["failed", "not come"])
def test_one_that_does_not_come_is_not_waited_for_for_ever(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    monkeypatch.setattr(joining, "_AGAIN_WITHIN_S" if failed else "_COMES_WITHIN_S", 0.3)
    if failed:
        assert is_said_here("training.accelerator=cuda: none here")
    with pytest.raises(ProcessLostError, match="another process of this training ended or does not answer"):
        join(0, 2)


def test_an_error_is_said_once(store: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(is_said_here, ["the same"] * 3)) == 1
    assert is_said_here("another")
    assert not is_said_here("lost", is_lost=True)  # one of the others has said why
    monkeypatch.setattr(joining, "_SAID_WITHIN_S", 0.0)
    monkeypatch.setattr(joining, "_AGAIN_WITHIN_S", 0.0)
    assert is_said_here("the same")  # after a restart
    assert is_said_here("lost", is_lost=True)


def test_an_error_is_said_where_the_store_is_gone(store: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    assert is_said_here("an error")
