"""Fashion-MNIST: IDX files good and bad, where they are looked for, and the real ones."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.data import fashion_mnist
from hwnas.data.config import FashionMnistConfig
from hwnas.data.fetch import download, fetch_debian_package
from hwnas.data.idx import read_idx
from hwnas.data.load import load_data
from hwnas.errors import DataError, StorageError
from hwnas.progress import no_progress

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_set(folder: Path, zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(1, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if zipped else (folder / name).write_bytes(
                content
            )


@pytest.mark.parametrize("zipped", [True, False])
def test_a_given_root_is_read_and_padded(tmp_path: Path, zipped: bool) -> None:
    write_set(tmp_path, zipped)
    plain = fashion_mnist.read(FashionMnistConfig(root=str(tmp_path)), no_progress)[0][0]
    config = FashionMnistConfig(root=str(tmp_path), image_size=32)
    (images, labels), (test_images, _) = fashion_mnist.read(config, no_progress)
    original = np.random.default_rng(0).integers(1, 256, (60, 28, 28), dtype=np.uint8)
    assert np.array_equal(plain[:, 0], original)
    assert images.shape == (60, 1, 32, 32)
    assert test_images.shape == (20, 1, 32, 32)
    assert np.array_equal(images[:, 0, 2:30, 2:30], original)
    assert images.sum(dtype=np.int64) == original.sum(dtype=np.int64)  # nothing but black around
    assert labels.tolist() == [i % 10 for i in range(60)]


def test_an_incomplete_root_says_what_it_lacks(tmp_path: Path) -> None:
    write_set(tmp_path, zipped=True)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(DataError, match=f"lacks {NAMES[3]} "):
        fashion_mnist.find(str(tmp_path), no_progress)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda raw: raw[:-10], "is cut short"),
        (lambda raw: raw[: len(raw) // 2], "is cut short"),
        (lambda _: b"<html>not found</html>", "cannot be read"),
        (lambda raw: raw[:200] + bytes(50) + raw[250:], "cannot be read"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-1]), "holds 47039 bytes where its header"),
        (lambda raw: gzip.compress(b"\0\0\x08\x01" + gzip.decompress(raw)[4:]), "no IDX file of 3-dimensional"),
        (lambda _: b"", "no IDX file"),
    ],
)
def test_a_spoilt_file_is_named(tmp_path: Path, spoil: object, says: str) -> None:
    write_set(tmp_path, zipped=True)
    path = tmp_path / f"{NAMES[0]}.gz"
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        fashion_mnist.read(FashionMnistConfig(root=str(tmp_path)), no_progress)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "point data.root at a complete copy" in message
    assert "\n" not in message


def test_images_and_labels_must_agree(tmp_path: Path) -> None:
    write_set(tmp_path, zipped=False)
    (tmp_path / NAMES[1]).write_bytes(idx(np.zeros(59, dtype=np.uint8)))
    with pytest.raises(DataError, match="expected 59 images of 28×28"):
        fashion_mnist.read(FashionMnistConfig(root=str(tmp_path)), no_progress)
    (tmp_path / NAMES[1]).write_bytes(idx(np.full(60, 10, dtype=np.uint8)))
    with pytest.raises(DataError, match="expected labels 0 to 9, got 10"):
        fashion_mnist.read(FashionMnistConfig(root=str(tmp_path)), no_progress)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An HTTP server over tmp_path/served."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/nonsense"):
                self.wfile.write(b"no HTTP\r\n\r\n")
            elif self.path.startswith("/cut"):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"the beginning")
            elif self.path.startswith("/labelled"):  # as servers do that take the file for a compressed transfer
                content = (tmp_path / "served" / Path(self.path).name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            else:
                super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_download_takes_only_what_matches_its_checksum(
    tmp_path: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "served", zipped=True)
    expected = digests(tmp_path / "served")
    cache = tmp_path / "cache" / "set"
    download(server, expected, cache, no_progress)
    assert digests(cache) == expected
    assert capfd.readouterr().err == ""  # a progress bar may be there

    (tmp_path / "served" / f"{NAMES[2]}.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=f"{NAMES[2]}.gz has SHA-256"):
        download(server, expected, tmp_path / "cache" / "other", no_progress)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["set"]  # no half-made folder


def test_files_are_kept_as_they_are_whatever_a_server_calls_them(tmp_path: Path, server: str) -> None:
    write_set(tmp_path / "served", zipped=True)
    expected = digests(tmp_path / "served")
    download(f"{server}/labelled", expected, tmp_path / "set", no_progress)
    assert digests(tmp_path / "set") == expected


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("absent", r"no such file there \(404 .+\)\Z"),
        ("nonsense", r"images\.gz did not arrive whole \(no HTTP\)\Z"),
        ("cut", r"images\.gz did not arrive whole \(.*13 bytes read, 987 more expected.*\)\Z"),
    ],
)
def test_download_says_why_there_is_no_file(tmp_path: Path, server: str, folder: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        download(f"{server}/{folder}", {"images.gz": "0"}, tmp_path / "cache" / "set", no_progress)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a socket that takes every connection and never answers."""
    monkeypatch.setattr("hwnas.data.fetch._ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_is_silent_is_not_waited_for(tmp_path: Path, silent: str) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match=r"\Ano answer"):
        download(silent, {"images.gz": "0"}, tmp_path / "cache" / "set", no_progress)
    assert time.monotonic() - began < 5
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_silent_proxy_is_not_waited_for(tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", silent)
    monkeypatch.setenv("no_proxy", "")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"\Ano answer"):
        download("http://images.example", {"images.gz": "0"}, tmp_path / "set", no_progress)
    assert time.monotonic() - began < 5


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="only where there is apt-get")
def test_a_silent_package_mirror_is_not_waited_for(
    tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {silent}/debian stable main\n")
    (tmp_path / "lists").mkdir()
    sources = tmp_path / "apt.conf"
    sources.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "/dev/null";'
        f' Dir::State::lists "{tmp_path}/lists"; Acquire::http::Proxy "DIRECT";'
    )
    monkeypatch.setenv("APT_CONFIG", str(sources))
    began = time.monotonic()
    with pytest.raises(DataError, match=r"\Ano answer within"):
        fetch_debian_package("dataset-fashion-mnist", Path("usr/share/x"), tmp_path / "cache" / "set", no_progress)
    assert time.monotonic() - began < 20
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said_with_the_ways_around(tmp_path: Path, server: str) -> None:
    write_set(tmp_path / "served", zipped=True)
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(
        StorageError, match=r"cannot write .*cache/set: .+; free space, or set XDG_CACHE_HOME .*data\.root"
    ):
        download(server, digests(tmp_path / "served"), tmp_path / "cache" / "set", no_progress)


def test_download_goes_through_the_proxy_of_the_environment(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DataError, match=r"no answer \(\[Errno \d+\] Connection refused\)"):
        download("http://images.example", {"images.gz": "0"}, tmp_path / "set", no_progress)


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.data.fetch._NEEDED_BYTES", 10**18)
    with pytest.raises(
        StorageError, match=r"cannot write .*set: \d+ MB are free there, expected 1000000000000; free space"
    ):
        download("http://127.0.0.1:9", {"images.gz": "0"}, tmp_path / "set", no_progress)


def test_without_any_way_the_error_lists_the_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither apt-get nor dpkg
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "absent")
    monkeypatch.setattr(fashion_mnist, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(DataError) as caught:
        fashion_mnist.find(None, no_progress)
    message = str(caught.value)
    for part in (
        "apt-get is not installed here",
        "download from http://127.0.0.1:9: no answer ([Errno 111] Connection refused)",
        f"fetch {', '.join(fashion_mnist.SHA256)} from http://127.0.0.1:9 elsewhere",
        f"put them into {tmp_path / 'cache' / 'hwnas' / 'fashion-mnist'}",
        "apt-get install",
        "data.root",
        "data=digits",
    ):
        assert part in message
    assert "\n" not in message


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system, cached, given = tmp_path / "system", tmp_path / "cache" / "hwnas" / "fashion-mnist", tmp_path / "given"
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", system)
    write_set(cached, zipped=True)
    assert fashion_mnist.find(None, no_progress) == cached
    write_set(system, zipped=True)
    assert fashion_mnist.find(None, no_progress) == system
    write_set(given, zipped=False)
    assert fashion_mnist.find(str(given), no_progress) == given


def test_an_unknown_package_is_refused_with_apts_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "apt.conf"  # no sources: apt asks no server
    sources.write_text('Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";')
    monkeypatch.setenv("APT_CONFIG", str(sources))
    folder = tmp_path / "cache" / "set"
    reason = "apt-get failed: E: " if shutil.which("apt-get") else "apt-get is not installed here"
    with pytest.raises(DataError, match=reason):
        fetch_debian_package("dataset-that-does-not-exist", Path("usr/share/x"), folder, no_progress)
    assert not folder.parent.exists() or list(folder.parent.iterdir()) == []


def test_the_real_data_set() -> None:
    """All 70,000 images, wherever they are found or fetched from."""
    try:
        data = load_data(FashionMnistConfig(), seed=0, progress=no_progress)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    assert (len(data.train), len(data.held_out), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.held_out.labels.bincount().tolist() == [500] * 10
    assert data.test.labels.bincount().tolist() == [1000] * 10
    # The data set's well-known statistics.
    assert data.mean[0] == pytest.approx(0.2860, abs=1e-3)
    assert data.std[0] == pytest.approx(0.3530, abs=1e-3)


def test_read_idx_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "absent.gz", 3)
