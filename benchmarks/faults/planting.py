"""Builds a scenario's folder of images: links to photographs, and altered copies where a fault asks for them.

Only numpy, Pillow and PyYAML are needed, so that other tools look at the same folders from an environment of their own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from altering import ALTERS, OF_CLASS, Alter, draw_parts
from PIL import Image, ImageOps
from scenario import GROUPS, IMAGES, Scenario

SPLITS = {"train": 0.5, "val": 0.2, "test": 0.3}
LEFT_OUT = (
    "grain_covered",
)  # of wheat: four photographs hold all of them, too few for a split by photograph


@dataclass(frozen=True)
class Item:
    """One image of a scenario: its file, the class that it is, the folder that it is put into, and what alters it."""

    source: Path
    truth: str
    label: str
    name: str
    group: str
    split: str = ""
    alters: tuple[Alter, ...] = ()
    broken: bool = False


def build(scenario: Scenario, seed: int, data: Path, folder: Path) -> dict[str, str]:
    """Writes the images below ``folder``.

    Returns:
        The true class of each image, by its path below the folder.
    """
    rng = np.random.default_rng([seed, *sha256(scenario.name.encode()).digest()[:4]])
    source = folder.parent.parent / "parts" if scenario.data == "parts" else data / scenario.data
    if scenario.data == "parts":
        draw_parts(source)
    n = next((fault.n for fault in scenario.faults.values() if fault.n != IMAGES), IMAGES)
    items = drawn(source, GROUPS[scenario.data], n, rng)
    if scenario.layout == "split":
        items = split_by_group(items, rng)
    for fault in scenario.faults.values():
        for name, *arguments in fault.plant:
            items = PLANTERS[str(name)](items, rng, *arguments)
    truth = {}
    for item in items:
        path = folder / item.split / item.label / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if item.broken:
            path.write_bytes(item.source.read_bytes()[: item.source.stat().st_size // 3])
        elif item.alters:
            image = ImageOps.exif_transpose(Image.open(item.source)).convert("RGB")
            for alter in item.alters:
                image = alter(image)
            image.save(path, quality=image.info.get("quality", 92))
        else:
            path.symlink_to(item.source.resolve())
        truth[path.relative_to(folder).as_posix()] = item.truth
    return truth


def drawn(source: Path, pattern: str | None, n: int, rng: np.random.Generator) -> list[Item]:
    """Draws about n images, the classes as equal as they can be; no two files are equal."""
    seen: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(source.glob("*/*.*")):
        if path.parent.name not in LEFT_OUT:
            seen[sha256(path.read_bytes()).hexdigest()].append(path)
    classes: dict[str, list[Path]] = defaultdict(list)
    for paths in seen.values():
        if len(paths) == 1:
            classes[paths[0].parent.name].append(paths[0])
    items, left = [], n
    for place, name in enumerate(sorted(classes, key=lambda name: len(classes[name]))):
        taken = min(len(classes[name]), round(left / (len(classes) - place)))
        left -= taken
        for row in rng.choice(len(classes[name]), taken, replace=False):
            path = classes[name][row]
            match = re.search(pattern, path.name) if pattern else None
            group = match.group(1) if match else path.name
            items.append(Item(path, name, name, path.name, group))
    return items


def split_by_group(items: list[Item], rng: np.random.Generator) -> list[Item]:
    """Deals groups, the largest first, to the split that lacks most images of the group's class."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    totals = {name: sum(item.truth == name for item in items) for name in classes_of(items)}
    lacking = {(split, name): share * n for split, share in SPLITS.items() for name, n in totals.items()}
    order = sorted(groups, key=lambda group: (-len(groups[group]), rng.random()))
    done = []
    for group in order:
        names = [item.truth for item in groups[group]]
        main = max(set(names), key=names.count)
        split = max(SPLITS, key=lambda split: lacking[split, main] / SPLITS[split])
        for item in groups[group]:
            lacking[split, item.truth] -= 1
            done.append(replace(item, split=split))
    return done


def classes_of(items: list[Item]) -> list[str]:
    return sorted({item.truth for item in items})


# what is done to the images of a scenario; each takes them, a generator, and its arguments


def alter(items: list[Item], rng: np.random.Generator, how: str, split: str = "") -> list[Item]:
    return [
        replace(item, alters=(*item.alters, ALTERS[how])) if item.split == split or not split else item
        for item in items
    ]


def by_class(items: list[Item], rng: np.random.Generator, how: str) -> list[Item]:
    classes = classes_of(items)

    def altered(label: str) -> Alter:
        return lambda image: OF_CLASS[how](image, classes.index(label), len(classes))

    return [replace(item, alters=(*item.alters, altered(item.label))) for item in items]


def relabel(items: list[Item], rng: np.random.Generator, how: str, split: str) -> list[Item]:
    """Files the images of a split otherwise: shuffled, each under the next class, or the two largest swapped."""
    classes = classes_of(items)
    places = [place for place, item in enumerate(items) if item.split == split]
    labels = [items[place].label for place in places]
    if how == "shuffle":
        new = list(rng.permutation(labels))
    elif how == "shift":
        new = [classes[(classes.index(label) + 1) % len(classes)] for label in labels]
    else:
        one, other = sorted(classes, key=labels.count)[-2:]
        new = [{one: other, other: one}.get(label, label) for label in labels]
    made = list(items)
    for place, label in zip(places, new, strict=True):
        made[place] = replace(items[place], label=str(label))
    return made


def noise(items: list[Item], rng: np.random.Generator, share: float) -> list[Item]:
    classes = classes_of(items)
    wrong = set(rng.choice(len(items), round(share * len(items)), replace=False).tolist())
    return [
        replace(item, label=str(rng.choice([name for name in classes if name != item.label])))
        if place in wrong and item.split != "test"
        else item
        for place, item in enumerate(items)
    ]


def half_filed(items: list[Item], rng: np.random.Generator) -> list[Item]:
    """Files half of the largest class but one under the largest."""
    totals = sorted(classes_of(items), key=lambda name: sum(item.truth == name for item in items))
    moved, into = totals[-2:]
    return [
        replace(item, label=into) if item.label == moved and rng.random() < 0.5 else item for item in items
    ]


def class_cut(items: list[Item], rng: np.random.Generator) -> list[Item]:
    """Cuts the largest class in two at random."""
    cut = max(classes_of(items), key=lambda name: sum(item.truth == name for item in items))
    made = []
    for item in items:
        name = f"{cut}_{'a' if rng.random() < 0.5 else 'b'}" if item.label == cut else item.label
        made.append(replace(item, label=name, truth=name if item.label == cut else item.truth))
    return made


def shrink(items: list[Item], rng: np.random.Generator, classes: int, left: int) -> list[Item]:
    """Leaves a few images of some classes; the largest stays whole."""
    counts = sorted(classes_of(items), key=lambda name: sum(item.truth == name for item in items))
    kept: dict[str, int] = dict.fromkeys(counts[:-1][: int(classes)], int(left))
    made = []
    for place in rng.permutation(len(items)):
        item = items[place]
        if item.truth not in kept or kept[item.truth] > 0:
            made.append(item)
            kept[item.truth] = kept.get(item.truth, 10**6) - 1
    return made


def classes(items: list[Item], rng: np.random.Generator, n: int) -> list[Item]:
    kept = rng.permutation(classes_of(items))[: int(n)].tolist()
    return [item for item in items if item.truth in kept]


def copies(items: list[Item], rng: np.random.Generator, how: str, share: float) -> list[Item]:
    """Puts copies of training images in the place of a share of the validation images."""
    train = [item for item in items if item.split == "train"]
    val = [item for item in items if item.split == "val"]
    n = round(share * len(val))
    chosen = [train[row] for row in rng.choice(len(train), n, replace=False)]
    copied = [_copy(item, place, how, split="val") for place, item in enumerate(chosen)]
    kept = [val[row] for row in rng.permutation(len(val))[n:]]
    return [item for item in items if item.split != "val"] + kept + copied


def contradict(items: list[Item], rng: np.random.Generator, how: str, share: float) -> list[Item]:
    """Adds copies of a share of the images to other classes."""
    names = classes_of(items)
    rows = rng.choice(len(items), round(share * len(items)), replace=False)
    added = []
    for place, row in enumerate(rows):
        others = [name for name in names if name != items[row].label]
        added.append(_copy(items[row], place, how, label=str(rng.choice(others))))
    return items + added


def _copy(item: Item, place: int, how: str, split: str = "", label: str = "") -> Item:
    path = Path(item.name)
    return replace(
        item,
        name=f"{path.stem}9{place}{path.suffix}",
        alters=() if how == "exact" else (*item.alters, ALTERS[how]),
        split=split or item.split,
        label=label or item.label,
    )


def unreadable(items: list[Item], rng: np.random.Generator, share: float) -> list[Item]:
    return [replace(item, broken=True) if rng.random() < share else item for item in items]


PLANTERS: dict[str, Callable[..., list[Item]]] = {
    function.__name__: function
    for function in (
        alter, by_class, relabel, noise, half_filed, class_cut, shrink, classes, copies, contradict, unreadable,
    )
}  # fmt: skip
