"""Fashion-MNIST: where its files are, and what is in them. numpy only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.data.config import FASHION_MNIST_CLASSES, FASHION_MNIST_SIZE, FashionMnistConfig
from hwnas.data.fetch import download, fetch_debian_package
from hwnas.data.idx import read_idx
from hwnas.data.user_cache import user_cache
from hwnas.errors import DataError
from hwnas.progress import Progress

__all__ = ["count", "files_stamp", "find", "is_here", "read"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]

PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("usr/share/datasets/fashion-mnist")
SYSTEM_FOLDER = Path("/") / PACKAGE_FOLDER
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SHA256 = {  # of the gzip files at ADDRESS; Debian's are the same images compressed anew
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_PARTS, _IMAGES, _LABELS = ("train", "t10k"), "images-idx3-ubyte", "labels-idx1-ubyte"


def find(root: str | None, progress: Progress) -> Path:
    """The folder that holds the four IDX files.

    Looked for in `root` alone where that is given; else in the folder of Debian's package, in the user's cache
    (`$XDG_CACHE_HOME/hwnas/fashion-mnist`), and then fetched to that cache, from Debian (`apt-get download`, no
    root needed) or from the data set's own address, against its checksums. Raises DataError that lists these ways.
    """
    if root is not None:
        folder = Path(root).expanduser()
        if missing := _missing(folder):
            raise DataError(
                f"data.root={root} lacks {', '.join(missing)} (plain or .gz); expected a folder with the four files of"
                " Fashion-MNIST, or leave data.root unset to have them found or fetched"
            )
        return folder
    if (present := _present()) is not None:
        return present
    cached = _cache_folder()
    fetches: dict[str, Callable[[], None]] = {
        f"apt-get download {PACKAGE}": lambda: fetch_debian_package(PACKAGE, PACKAGE_FOLDER, cached, progress),
        f"download from {ADDRESS}": lambda: download(ADDRESS, SHA256, cached, progress),
    }
    reasons = []
    for way, fetch in fetches.items():
        reason = _refusal(fetch)
        if reason is None:
            return cached
        reasons.append(f"{way}: {reason}")
    raise DataError(
        f"Fashion-MNIST is not in {SYSTEM_FOLDER} and could not be fetched to {cached} ({'; '.join(reasons)}). Ways:"
        f" run again with a network (a proxy: http_proxy=…); or fetch {', '.join(SHA256)} from {ADDRESS} elsewhere and"
        f" put them into {cached}, or into any folder with data.root=FOLDER; or apt-get install {PACKAGE}; or other"
        " images: data=digits needs no download, data=image_folder data.root=FOLDER takes your own"
    )


def is_here(root: str | None) -> bool:
    """Whether `find` would find the files without fetching them, or at once say what `root` lacks."""
    return root is not None or _present() is not None


def read(config: FashionMnistConfig, progress: Progress) -> tuple[Arrays, Arrays]:
    """Training and test images, uint8 `[N, 1, image_size, image_size]`, each with labels int64 `[N]`."""
    folder = find(config.root, progress)
    parts = []
    for done, part in enumerate(_PARTS):
        progress(done / 2, f"reading {folder}")
        images_path, labels_path = (_file(folder, f"{part}-{rest}") for rest in (_IMAGES, _LABELS))
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if images.shape[1:] != (FASHION_MNIST_SIZE, FASHION_MNIST_SIZE) or len(images) != len(labels):
            raise DataError(
                f"{images_path}: expected {len(labels)} images of 28×28, one for each label of {labels_path.name},"
                f" got {images.shape}"
            )
        if len(labels) and labels.max() >= len(FASHION_MNIST_CLASSES):
            raise DataError(f"{labels_path}: expected labels 0 to 9, got {labels.max()}")
        parts.append((_pad(images, config.image_size)[:, None], labels.astype(np.int64)))
    progress(1.0, f"read {folder}")
    return parts[0], parts[1]


def count(config: FashionMnistConfig, progress: Progress) -> tuple[int, int]:
    """How many training and test images there are."""
    folder = find(config.root, progress)
    train, test = (len(read_idx(_file(folder, f"{part}-{_LABELS}"), 1)) for part in _PARTS)
    return train, test


def files_stamp(root: str) -> dict[str, list[int]]:
    """Size and modification time (ns) of each of the four files in `root`: changes with the data."""
    stats = {name: _file(Path(root).expanduser(), name.removesuffix(".gz")) for name in SHA256}
    return {name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in stats.items() if path.is_file()}


def _pad(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Black around `[N, 28, 28]`, the odd pixel to the right and below."""
    before = (size - FASHION_MNIST_SIZE) // 2
    padded = np.zeros((len(images), size, size), dtype=np.uint8)
    padded[:, before : before + FASHION_MNIST_SIZE, before : before + FASHION_MNIST_SIZE] = images
    return padded


def _refusal(fetch: Callable[[], None]) -> DataError | None:
    try:
        fetch()
    except DataError as error:
        return error
    return None


def _present() -> Path | None:
    return next((folder for folder in (SYSTEM_FOLDER, _cache_folder()) if not _missing(folder)), None)


def _missing(folder: Path) -> list[str]:
    names = [name.removesuffix(".gz") for name in SHA256]
    return [name for name in names if not ((folder / name).is_file() or (folder / f"{name}.gz").is_file())]


def _file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _cache_folder() -> Path:
    return user_cache() / "fashion-mnist"
