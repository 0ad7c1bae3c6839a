"""How large the photographs of a folder are, by their headers."""

from __future__ import annotations

import contextlib

import numpy as np

from hwnas.data.config import ImageFolderConfig, tree_of
from hwnas.data.decode import require_pillow
from hwnas.data.image_files import list_images
from hwnas.errors import DataError

__all__ = ["shorter_sides"]


def shorter_sides(config: ImageFolderConfig, count: int) -> list[int]:
    """The shorter sides, in pixels, of up to `count` training images, spread over the classes; none is decoded.

    Those that can't be opened are passed over. Raises DataError where none can, and for a folder that is not as
    expected (see `find_tree`, `list_images`).
    """
    require_pillow(f"data={config.name}")
    from PIL import Image

    folders = list_images(tree_of(config)).train
    paths = [folder.path_of(image) for folder in folders for image in folder.images]
    chosen = np.unique(np.linspace(0, len(paths) - 1, count).astype(int))

    def side(path: str) -> int:
        with contextlib.suppress(Exception), Image.open(path) as opened:  # plugins raise whatever a byte leads them to
            return int(min(opened.size))
        return 0

    sides = [found for place in chosen if (found := side(paths[place]))]
    if not sides:
        raise DataError(f"{config.root}: none of {len(chosen)} images can be opened, such as {paths[0]}: mend the tree")
    return sides
