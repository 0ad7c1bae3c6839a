"""What a training reads of a folder of images, in a few numbers. Standard library only."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from hwnas.data.class_names import class_names
from hwnas.data.config import ImageFolderConfig, tree_of
from hwnas.data.image_files import list_images

__all__ = ["images_stamp"]


def images_stamp(config: ImageFolderConfig) -> dict[str, Any]:
    """JSON-able: `images` that are read, their `bytes`, the `classes`' folders, their `names` where a file gives them,
    and a `sha256` of each image's split, class, path below the class folder, size and modification time.

    It changes where another class, image or name is read, links followed, and not with the spelling of the root's path
    or files that aren't read. Raises DataError where the images can't be listed (see `find_tree`, `list_images`).
    """
    tree = tree_of(config)
    files = list_images(tree)
    digest, count, size = hashlib.sha256(), 0, 0
    for folder in (*files.train, *files.test, *files.held_out):
        # Each field ends in a byte that no name holds, so that no two lists give the same text.
        digest.update(f"{folder.split}\0{folder.name}\0{len(folder.images)}\0".encode())
        digest.update(
            b"".join(
                b"%b\0%d\0%d\0" % (os.fsencode(image.below), image.size, image.modified_ns) for image in folder.images
            )
        )
        count += len(folder.images)
        size += sum(image.size for image in folder.images)
    stamp = {"images": count, "bytes": size, "classes": list(tree.classes), "sha256": digest.hexdigest()}
    if config.class_names is not None:
        stamp["names"] = list(class_names(tree.classes, config.class_names))
    return stamp
