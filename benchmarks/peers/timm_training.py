"""timm on PyTorch: what `accelerator.py` compares ours with. Run by a Python that has torch and timm.

As timm's own training script does it where it matters for speed: worker processes decode by Pillow and
crop at random, batches travel as bytes and are normalised on the device, channels last, autocast in
bfloat16, Adam.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm_alone import timm

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Files(torch.utils.data.Dataset):  # type: ignore[misc]
    """Pictures in folders, a class each, cropped at random and mirrored."""

    def __init__(self, root: Path, side: int, area: tuple[float, float], aspect: float) -> None:
        self.area, self.aspect = area, aspect
        self.paths = sorted(root.glob("*/*.jpg"))
        self.labels = [int(path.parent.name) for path in self.paths]
        self.side = side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return uint8 `[channels, height, width]` and the class."""
        with Image.open(self.paths[index]) as file:
            picture = file.convert("RGB")
        size = (self.side, self.side)
        box = crop(*picture.size, self.area, self.aspect)
        picture = picture.resize(size, Image.Resampling.BILINEAR, box=box)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()), self.labels[index]


def crop(
    width: int, height: int, area: tuple[float, float], aspect: float
) -> tuple[int, int, int, int]:
    """Return a box as `RandomResizedCrop` draws it: left, top, right, bottom."""
    for _ in range(10):
        pixels = width * height * random.uniform(*area)
        shape = np.exp(random.uniform(-np.log(aspect), np.log(aspect)))
        across, down = round((pixels * shape) ** 0.5), round((pixels / shape) ** 0.5)
        if 0 < across <= width and 0 < down <= height:
            left, top = random.randint(0, width - across), random.randint(0, height - down)
            return left, top, left + across, top + down
    return 0, 0, width, height


def endless(loader: Any) -> Any:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Return pictures a second of each part, and on what they were computed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    steps, size = asked["steps"], asked["batch_size"]
    files = Files(Path(asked["files"]), asked["side"], asked["area"], asked["aspect"])
    loader = torch.utils.data.DataLoader(
        files, size, shuffle=True, drop_last=True, num_workers=asked["workers"],
        pin_memory=device.type == "cuda", persistent_workers=asked["workers"] > 0,
    )  # fmt: skip
    model = timm.create_model(asked["peer"], num_classes=max(files.labels) + 1)
    model = model.to(device=device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    mean, deviation = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (MEAN, DEVIATION)
    )

    def step(batch: Any) -> None:
        pixels, labels = (part.to(device, non_blocking=True) for part in batch)
        inputs = (
            pixels.float().sub(mean).div(deviation).contiguous(memory_format=torch.channels_last)
        )
        with torch.autocast(device.type, torch.bfloat16):
            loss = criterion(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def rate(batches: Any, use: Any) -> float:
        for _ in range(asked["warm_up"]):
            use(next(batches))
        wait(device)
        start = time.perf_counter()
        for _ in range(steps):
            use(next(batches))
        wait(device)
        return float(steps * size / (time.perf_counter() - start))

    batches = endless(loader)
    found = {"pipeline": rate(batches, lambda batch: batch)}
    kept = next(batches)
    found["repeated"] = rate(iter(lambda: kept, None), step)
    found["training"] = rate(batches, step)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {**found, "device": name, "precision": "bfloat16"}


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", required=True)
    print(json.dumps(measure(json.loads(parser.parse_args().measure))))
