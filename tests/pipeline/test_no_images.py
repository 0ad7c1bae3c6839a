"""`hwnas run` without its images: said before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.data import fashion_mnist
from hwnas.errors import DataError
from hwnas.progress import no_progress
from tests.data.test_fashion_mnist import write_set


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No copy of Fashion-MNIST, no apt-get, a proxy that refuses; returns the cache's folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "absent")
    return tmp_path / "cache" / "hwnas" / "fashion-mnist"


def test_no_network(offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    out, err = capsys.readouterr()
    assert "train:" not in out
    (line,) = [line for line in err.splitlines() if line.startswith("hwnas: error:")]
    for part in (fashion_mnist.ADDRESS, str(offline), "data.root=FOLDER", "data=digits", "Connection refused"):
        assert part in line
    assert not list((tmp_path / "run" / "train").glob("*.safetensors"))


@pytest.mark.parametrize("data", ["fashion_mnist", "image_folder"])
def test_an_empty_folder(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["run", f"data={data}", f"data.root={tmp_path / 'empty'}", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    out, err = capsys.readouterr()
    assert str(tmp_path / "empty") in err
    assert "train:" not in out


def test_a_file_that_is_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "set", zipped=True)
    cut = tmp_path / "set" / "t10k-images-idx3-ubyte.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert main(["run", f"data.root={tmp_path / 'set'}", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    out, err = capsys.readouterr()
    assert f"{cut} is cut short" in err
    assert "train:" not in out


@pytest.mark.parametrize("proxy", ["nonsense://", "http://[", "http://127.0.0.1:99999"])
def test_a_proxy_whose_address_is_odd(proxy: str, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(DataError, match=r"download from http://[^ ]+: no answer \(.+\)"):
        fashion_mnist.find(None, no_progress)
