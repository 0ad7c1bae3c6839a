"""Images a second of the lazy image folder, beside the usual torch DataLoader, in one run.

    python benchmarks/data_loading.py --json F

JPEGs of about 500×375 pixels are made in a temporary folder: smooth shapes with sensor-like noise, about 77 KB each
(ILSVRC2012's training images: 108 KB on average). Every way is given the same files, batch size and number of workers,
and gives normalised float32 batches at 224×224:

- `train`: `hwnas.training.batches.Batches` as data=imagenet has it: random crop, flip, brightness and saturation.
- `train, no colours`: the same without brightness and saturation.
- `dataloader`: torch's DataLoader over a plain Dataset, as most training scripts have it: Pillow decodes the whole
  photograph, a random crop is resized, flipped, made a normalised float tensor, and batches are collated. No colours.
- `evaluation`: `network_inputs` of the test images; a part that does not fit memory.

Ways take turns within each repeat, and figures are medians. Beside F a markdown table of the same name is written.

    python benchmarks/data_loading.py --json F --photos FOLDER --size 160

measures whole epochs instead, of the same JPEGs and of the folder's photographs: decoded anew (`data.in_memory=false`),
and from the cache of decoded images, which is empty at first. From the call of `load_data` on: seconds to the first
batch; of the first epoch and a pass over the held-out and test images, as every run has one; of the second epoch; with
those of the CPU, workers' included. `alone` cuts and mirrors nothing; `padded` is the default of data=image_folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import about, described
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hwnas.data.config import AugmentConfig, ImageFolderConfig
from hwnas.data.decode import RandomCrop
from hwnas.data.image_files import list_images
from hwnas.data.image_tree import find_tree
from hwnas.data.inputs import network_inputs
from hwnas.data.load import ImageData, load_data
from hwnas.files import write_json, write_text
from hwnas.progress import no_progress
from hwnas.training.batches import Batches
from hwnas.training.processes import Processes

RESOLUTION, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS = AugmentConfig(crop_padding=0, crop_scale=(0.08, 1.0), brightness=32 / 255, saturation=0.5)


def main() -> None:
    arguments = parse()
    if arguments.photos is not None:
        measure_epochs(arguments)
        return
    torch.set_num_threads(1)  # what is measured is decoding; training would take the other threads
    speeds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tree = make_tree(Path(folder), arguments.images)
        kilobytes = np.mean([path.stat().st_size for path in tree.rglob("*.JPEG")]) / 1000
        for repeat in range(arguments.repeats):
            for workers in arguments.workers:
                for name, batches in ways(tree, workers, arguments.steps).items():
                    speed = images_per_s(batches, arguments.steps)
                    speeds.setdefault((name, workers), []).append(speed)
                    print(f"repeat {repeat + 1}, {workers} workers, {name}: {speed:.0f} images/s", flush=True)
    rows = [
        {"way": name, "workers": workers, "images_per_s": statistics.median(values), "repeats": values}
        for (name, workers), values in speeds.items()
    ]
    found = {
        **about("torch", "pillow", "kornia", "numpy"),
        "image_kilobytes": round(float(kilobytes), 1),
        "batch": BATCH,
        "resolution": RESOLUTION,
        "steps": arguments.steps,
        "repeats": arguments.repeats,
    }
    write_json(arguments.json, {"about": found, "rows": rows})
    write_text(arguments.json.with_suffix(".md"), markdown(rows, found, arguments.workers))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="a folder of your own, as data=image_folder takes it")
    parser.add_argument("--size", type=int, default=160, help="data.image_size for --photos")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=256, help="distinct JPEGs a class, of two")
    parser.add_argument("--steps", type=int, default=12, help=f"timed batches of {BATCH}")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def measure_epochs(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    rows = []
    augmentations = {
        "alone": AugmentConfig(flip=False, crop_padding=0),
        "padded": AugmentConfig(crop_padding=4),
        "random crops": AugmentConfig(crop_padding=0, crop_scale=(0.25, 1.0)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for photos in (make_tree(Path(folder), arguments.images), arguments.photos):
            for name, augment in augmentations.items():
                for way, in_memory in (("decoded anew", False), ("cached", None)):
                    with tempfile.TemporaryDirectory() as cache:
                        os.environ["HWNAS_IMAGE_CACHE"] = cache
                        config = ImageFolderConfig(
                            root=str(photos), image_size=arguments.size, in_memory=in_memory, mean=MEAN, std=STD,
                            workers=arguments.workers[-1], augment=augment, skip_broken=True,
                        )  # fmt: skip
                        shown = arguments.photos.name if photos == arguments.photos else "500×375"
                        rows.append({"photos": shown, "augmentation": name, "way": way, **epochs(config)})
                        print(rows[-1], flush=True)
    found = {
        **about("torch", "pillow", "kornia", "numpy"),
        "size": arguments.size,
        "batch": BATCH,
        "workers": arguments.workers[-1],
    }
    write_json(arguments.json, {"about": found, "rows": rows})
    write_text(arguments.json.with_suffix(".md"), epochs_markdown(rows, found))


def epochs(config: ImageFolderConfig) -> dict[str, float]:
    """Seconds, by the clock and of the CPU."""
    began, cpu = time.perf_counter(), cpu_s()
    data = load_data(config, 0, no_progress)
    batches = Batches(data, BATCH, seed=0, processes=Processes(), resolution_at=lambda _: config.image_size)
    found: dict[str, float] = {"images": batches.steps_per_epoch * BATCH}
    for epoch in (1, 2):
        for step in range(batches.steps_per_epoch):
            batches((epoch - 1) * batches.steps_per_epoch + step, config.image_size)
            if epoch == 1 and step == 0:
                found["first_batch_s"] = time.perf_counter() - began
        for part in (data.held_out, data.test) if epoch == 1 else ():
            for _ in network_inputs(part, config.image_size, data.preprocessing, BATCH):
                pass
        found[f"epoch{epoch}_s"] = time.perf_counter() - began
        batches.close()
        while multiprocessing.active_children():  # their time counts once they have ended
            time.sleep(0.05)
        found[f"epoch{epoch}_cpu_s"] = cpu_s() - cpu
        began, cpu = time.perf_counter(), cpu_s()
    return {key: round(value, 3) for key, value in found.items()}


def cpu_s() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def epochs_markdown(rows: list[dict[str, Any]], found: dict[str, Any]) -> str:
    lines = [
        f"Epochs of photographs at {found['size']}×{found['size']}, {found['workers']} workers; seconds by the clock"
        " (and of the CPU). The first epoch counts from the start of loading and has a pass over the other images.",
        "",
        "| photographs | augmentation | way | first batch | first epoch | second epoch |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['images']} of {row['photos']} | {row['augmentation']} | {row['way']}"
            f" | {row['first_batch_s']:.1f} | {row['epoch1_s']:.1f} ({row['epoch1_cpu_s']:.1f})"
            f" | {row['epoch2_s']:.1f} ({row['epoch2_cpu_s']:.1f}) |"
            for row in rows
        ),
        "",
        "See `benchmarks/data_loading.py` for what the ways are.",
        "",
        described(found),
    ]
    return "\n".join(lines) + "\n"


def make_tree(root: Path, per_class: int) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", per_class), ("val", per_class)):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                width, height = (int(size) for size in rng.integers((460, 340), (540, 410)))
                shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
                smooth = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
                noisy = smooth + rng.normal(0, 12, smooth.shape)
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.JPEG", quality=90)
    return root


def ways(tree: Path, workers: int, steps: int) -> dict[str, Callable[[], Iterable[Any]]]:
    """Name to a callable that starts the way anew and gives its batches."""
    plain = replace(COLOURS, brightness=0.0, saturation=0.0)
    return {
        "train": lambda: training(load(tree, workers, COLOURS), steps),
        "train, no colours": lambda: training(load(tree, workers, plain), steps),
        "dataloader": lambda: DataLoader(
            Photos(tree),
            BATCH,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            prefetch_factor=2 if workers else None,
        ),
        "evaluation": lambda: evaluation(load(tree, workers, COLOURS)),
    }


def load(tree: Path, workers: int, augment: AugmentConfig) -> ImageData:
    config = ImageFolderConfig(
        root=str(tree), image_size=RESOLUTION, held_out=2, crop_pct=0.875, workers=workers, in_memory=False,
        memory_limit_mib=1, cache_mib=0, mean=MEAN, std=STD, augment=augment,
    )  # fmt: skip
    return load_data(config, 0, no_progress)


def training(data: ImageData, steps: int) -> Iterable[Any]:
    batches = Batches(data, BATCH, seed=0, processes=Processes(), resolution_at=lambda _: RESOLUTION)
    for step in range(steps + 1):
        yield batches(step, RESOLUTION)
    batches.close()


def evaluation(data: ImageData) -> Iterable[Any]:
    return network_inputs(data.test, RESOLUTION, data.preprocessing, BATCH)


class Photos(Dataset[tuple[torch.Tensor, int]]):
    """What most training scripts do to a photograph, by Pillow and torch."""

    def __init__(self, tree: Path) -> None:
        folders = list_images(find_tree(tree)).train
        self.paths = [folder.path_of(image) for folder in folders for image in folder.images]
        self.labels = [label for label, folder in enumerate(folders) for _ in folder.images]
        self.crop = RandomCrop((0.08, 1.0), (3 / 4, 4 / 3))
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        rng = np.random.default_rng(torch.initial_seed() % 2**32 + index)
        with Image.open(self.paths[index]) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        cut = image.crop(self.crop.box(width, height, rng)).resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous().float().div_(255)
        return pixels.sub_(self.mean).div_(self.std), self.labels[index]


def images_per_s(start: Callable[[], Iterable[Any]], steps: int) -> float:
    """Over `steps` batches after the first, which waits for the workers to start."""
    began, taken = 0.0, 0
    for number, (images, _) in enumerate(start()):
        if number == 0:
            began = time.perf_counter()
            continue
        taken += len(images)
        if number == steps:
            break
    return taken / (time.perf_counter() - began)


def markdown(rows: list[dict[str, Any]], found: dict[str, Any], workers: list[int]) -> str:
    speeds = {(row["way"], row["workers"]): row["images_per_s"] for row in rows}
    names = list(dict.fromkeys(row["way"] for row in rows))
    lines = [
        f"Images a second, {RESOLUTION}×{RESOLUTION}, by number of worker processes; medians of {found['repeats']}.",
        "",
        "| way | " + " | ".join(f"{count} worker{'s' * (count != 1)}" for count in workers) + " |",
        "|---|" + "---|" * len(workers),
        *(f"| {name} | " + " | ".join(f"{speeds[name, count]:.0f}" for count in workers) + " |" for name in names),
        "",
        "See `benchmarks/data_loading.py` for what the ways are. JPEGs of about 500×375 pixels,"
        f" {found['image_kilobytes']} KB on average.",
        "",
        described(found),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
