"""Files are whole or absent."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import CheckpointError, StorageError
from hwnas.files import (
    atomic_path,
    locked,
    packaged,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_bytes,
    write_json,
    write_text,
)
from tests.running import held_by_another


def test_written_content_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    assert write_json(path, {"a": [1, 2.5, None, "ü"]}) == path
    assert read_json(path) == {"a": [1, 2.5, None, "ü"]}
    assert write_text(path, "zwölf").read_text(encoding="utf-8") == "zwölf"
    assert write_bytes(str(path), b"\x00\xff").read_bytes() == b"\x00\xff"


def test_only_the_file_stays(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "one")
    write_text(tmp_path / "file.txt", "two")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "two"


def test_permissions_are_those_of_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = write_text(tmp_path / "file.txt", "old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "net.onnx") as temporary:
        assert temporary.suffix == ".onnx"
        assert temporary.parent == tmp_path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    path = write_text(tmp_path / "file.txt", "old")

    def fill() -> None:
        with atomic_path(path), Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(StorageError, match=r"cannot write .*file\.txt: No space left on device") as caught:
        fill()
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write"):
        write_text(tmp_path / "file" / "below.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match=r"Permission denied"):
            write_text(tmp_path / "file.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_bytes(tmp_path / "file.json", content)
    with pytest.raises(CheckpointError, match=r"file\.json is not a complete JSON file") as caught:
        read_json(path, CheckpointError)
    assert "\n" not in str(caught.value)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no such file: .*absent\.json"):
        read_json(tmp_path / "absent.json")


def test_digests(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    path = write_bytes(tmp_path / "file", content)
    assert sha256_of_file(path) == hashlib.sha256(content).hexdigest()
    assert sha256_of_json({"a": 1, "b": 2}) == sha256_of_json({"b": 2, "a": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})


@pytest.mark.parametrize("folder", ["conf", "device_profiles", "latency_tables"])
def test_packaged_folders_are_found(folder: str) -> None:
    assert packaged(folder).is_dir()


def test_other_packaged_folders_are_not_a_thing() -> None:
    with pytest.raises(ValueError, match="not a packaged folder"):
        packaged("tests")


def test_files_and_errors_need_the_standard_library_only() -> None:
    code = "import sys, hwnas.files, hwnas.errors; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_lock_is_held_by_one_process(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".lock"
    with held_by_another(lock) as other:
        with (
            pytest.raises(StorageError, match=r"new is being written by another hwnas process: wait for it"),
            locked(lock),
        ):
            pass
        other.kill()
        other.wait()
        with locked(lock), locked(lock):  # a killed process holds nothing; one's own may be taken twice
            pass


def test_a_lock_goes_along_with_its_file(tmp_path: Path) -> None:
    """As where a step's former output is moved away and the lock stays."""
    lock, other = tmp_path / "a" / ".lock", tmp_path / "b"
    with held_by_another(lock):
        other.mkdir()
        lock.rename(other / ".lock")
        with pytest.raises(StorageError), locked(other / ".lock"):
            pass
