"""Data configs answer without torch, and refuse what can't be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.data.config import AugmentConfig, DigitsConfig, FashionMnistConfig, ImageFolderConfig, describe
from hwnas.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FashionMnistConfig(image_size=27), "data.image_size: expected at least 28"),
        (
            lambda: FashionMnistConfig(name="mnist"),
            "data=fashion_mnist, data=image_folder, data=imagenet or data=digits",
        ),
        (lambda: ImageFolderConfig(held_out=0), "data.held_out"),
        (lambda: ImageFolderConfig(test_share=1.0), "data.test_share"),
        (lambda: ImageFolderConfig(split_seed=-1), "data.split_seed"),
        (lambda: ImageFolderConfig(workers=-1), "data.workers"),
        (lambda: ImageFolderConfig(memory_limit_mib=0), "data.memory_limit_mib"),
        (lambda: ImageFolderConfig(held_out=1), "data.held_out: expected at least 2"),
        (lambda: ImageFolderConfig(name=""), "data.name"),
        (lambda: ImageFolderConfig(crop_pct=1.1), "data.crop_pct"),
        (lambda: ImageFolderConfig(class_count=-1), "data.class_count"),
        (lambda: ImageFolderConfig(mean=(0.5, 0.5, 0.5)), "data.mean and data.std: expected both"),
        (lambda: ImageFolderConfig(mean=(0.5, 0.5, 0.5), std=(0.2, 0.0, 0.2)), "data.std: expected three numbers"),
        (lambda: ImageFolderConfig(mean=(123.0, 116.0, 103.0), std=(0.2, 0.2, 0.2)), "(the full range is 1)"),
        (lambda: AugmentConfig(crop_padding=0, crop_scale=(0.0, 1.0)), "data.augment.crop_scale"),
        (lambda: AugmentConfig(crop_padding=2, crop_scale=(0.1, 1.0)), "excludes crop_padding, got 2"),
        (lambda: AugmentConfig(crop_ratio=(2.0, 1.0)), "data.augment.crop_ratio"),
        (lambda: AugmentConfig(brightness=1.0), "data.augment.brightness"),
        (lambda: AugmentConfig(rand_operations=15), "data.augment.rand_operations"),
        (lambda: AugmentConfig(rand_operations=-1), "data.augment.rand_operations"),
        (lambda: AugmentConfig(rand_magnitude=31), "data.augment.rand_magnitude"),
        (lambda: AugmentConfig(mixup=-0.1), "data.augment.mixup"),
        (lambda: AugmentConfig(cutmix=float("inf")), "data.augment.cutmix"),
        (lambda: AugmentConfig(cutmix=float("nan")), "data.augment.cutmix"),
        (lambda: AugmentConfig.preset("hard"), "data.augment=hard: valid: light, medium, strong"),
        (lambda: DigitsConfig(root="here"), "data.root"),
        (lambda: AugmentConfig(crop_padding=-1), "data.augment.crop_padding"),
        (lambda: AugmentConfig(erase_probability=1.1), "data.augment.erase_probability"),
    ],
)
def test_a_wrong_value_is_named(make: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()  # type: ignore[operator]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_description_of_each_data_set(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / name).mkdir(parents=True)
    folder = describe(ImageFolderConfig(root=str(tmp_path)))
    assert (folder.classes, folder.channels) == (("cat", "dog"), 3)
    clothes = describe(FashionMnistConfig())
    assert folder.folders == folder.classes
    assert clothes.folders == clothes.classes
    assert (len(clothes.classes), clothes.classes[-1], clothes.channels) == (10, "ankle boot", 1)
    assert describe(DigitsConfig()).classes == tuple("0123456789")
    with pytest.raises(DataError, match=r"data\.root is not set"):
        describe(ImageFolderConfig())


def test_configs_import_no_heavy_library() -> None:
    code = (
        "import sys, hwnas.data.config; print([m for m in ('torch', 'kornia', 'PIL', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
