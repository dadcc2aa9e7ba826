"""A page that shows what augmentation makes of real pictures: a row each, with the labels they get."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Batch, Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.pixels.mixing import mix_images
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.tasks import Task
from hornbeam.page import page, thumbnail
from hornbeam.storage import write_text

_STYLE = """<style>
body { max-width: none; } .grid { border-collapse: separate; border-spacing: .3rem; }
.grid td, .grid th { border: 0; padding: 0; text-align: center; vertical-align: top; font-size: .7rem; }
.grid th { font-weight: normal; } .grid td img { display: block; }
.grid th.name { text-align: left; padding-top: .8rem; color: var(--soft); }
</style>"""

_SHOWN = 0.01
"""Share of a class below which it is not named."""


def write_augment_page(
    path: Path,
    dataset: Dataset,
    augment: Augmentation,
    name: str,
    *,
    pictures: int,
    variations: int,
    image_size: tuple[int, ...],
    resize_mode: ResizeMode,
    seed: int,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        dataset: with or without labels.
        augment: what is shown.
        name: of the set that it was made of.
        pictures: how many, spread over the dataset; each is mixed with the one below or above it.
        variations: of each.
        image_size: (height, width, channels) in pixels.
        resize_mode: how pictures get that shape.
        seed: another one shows other variations.

    Raises:
        DataError: a picture cannot be read.
    """
    rows = spread(dataset, pictures, seed)
    chosen = dataset.take(rows)
    options = {"batch_size": len(rows), "image_size": image_size, "resize_mode": resize_mode}
    plain = Loader(chosen, **options)  # type: ignore[arg-type]
    varied = Loader(chosen, augment=augment, seed=seed, training=True, **options)  # type: ignore[arg-type]
    columns = [_cells(plain, plain.batch(0), chosen)]
    columns += [_cells(varied, varied.batch(step), chosen) for step in range(variations)]
    body = "".join(
        f'<tr><th class="name" colspan="{len(columns)}">{escape(chosen.paths[row])}</th></tr><tr>'
        + "".join(f"<td>{column[row]}</td>" for column in columns)
        + "</tr>"
        for row in range(len(rows))
    )
    heads = "".join(f"<th>{i}</th>" for i in range(1, variations + 1))
    text = page(
        f"Augmentation: {name}",
        f"{_STYLE}<h1>Augmentation: {escape(name)}</h1>{_settings(augment)}"
        f'<p class="soft">{len(rows)} of {len(dataset)} pictures of {escape(str(dataset.root))}, '
        f"{resize_mode} to {image_size[0]}x{image_size[1]}, seed {seed}. Below each is the label that "
        "training gets. If you cannot see it in the picture, neither will the network.</p>"
        f'<div class="scroll"><table class="grid"><tr><th>as it is</th>{heads}</tr>{body}'
        "</table></div>",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def spread(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Return rows of a dataset, of as many classes as there are, one class after the other."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))
    count = min(count, len(dataset))
    if not dataset.tasks or dataset.tasks[0].multi_label:
        return np.sort(order[:count])
    labels = dataset.labels(dataset.tasks[0])[order]
    # The n-th picture of every class comes before the n+1-st of any.
    place = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        place[places] = np.arange(len(places))
    return order[np.lexsort((labels, place))][:count]


def _cells(loader: Loader, batch: Batch, dataset: Dataset) -> list[str]:
    images = batch.images if batch.mix is None else mix_images(batch.images, batch.mix)
    captions = [
        " · ".join(
            _caption(task, batch.targets[task.name][slot])
            for task in dataset.tasks
            if batch.weights[task.name][slot]
        )
        for slot in range(len(dataset))
    ]
    side = max(loader.image_size[:2])
    return [
        thumbnail(image, side=side, crop=False) + escape(caption)
        for image, caption in zip(images, captions, strict=True)
    ]


def _caption(task: Task, target: NDArray[np.float32] | np.int32) -> str:
    """Return the classes of one target, with their shares where there are several."""
    shares = np.atleast_1d(np.asarray(target))
    if np.ndim(target) == 0:
        return task.classes[int(shares[0])]
    named = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= _SHOWN]
    if all(shares[i] > 1 - _SHOWN for i in named):
        return ", ".join(task.classes[i] for i in named)
    return ", ".join(f"{task.classes[i]} {shares[i]:.0%}" for i in named)


def _settings(augment: Augmentation) -> str:
    """Return the values of an augmentation that do something, as a paragraph."""
    parts = [
        f"{name.replace('_', ' ')} {_number(value)}"
        for name, value in [*vars(augment).items(), *vars(augment.mixing).items()]
        if value and name != "mixing" and not (name == "aspect" and value == 1)
    ]
    return f"<p>{escape('; '.join(parts)) or 'Nothing is varied.'}</p>"


def _number(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(_number(part) for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
