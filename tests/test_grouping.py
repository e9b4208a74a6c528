"""Photographs that names, folders and capture times tell of: the right groups, and none where nothing shows them."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image

from seedsweep.data.manifest import ImageTable
from seedsweep.data.split import groups_of, joined
from seedsweep.diagnosis.audited import Audited, FileFacts, read_facts
from seedsweep.diagnosis.grouping import Grouping, guess_grouping, measure_grouping
from seedsweep.diagnosis.name_patterns import name_patterns
from seedsweep.diagnosis.nearness import Neighbours

N, PHOTOGRAPHS = 480, 40
ROWS = np.arange(N)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns photograph and class of each image; a photograph holds images of two of three classes."""
    rng = np.random.default_rng(seed)
    photographs = np.sort(rng.integers(0, PHOTOGRAPHS, N))
    return photographs, (photographs + rng.integers(0, 2, N)) % 3


def alike(photographs: np.ndarray, labels: np.ndarray, seed: int = 0) -> Neighbours:
    """Returns the neighbours where images of one photograph share its light, and those of a class its look."""
    rng = np.random.default_rng(seed)
    of_class, of_photograph = rng.normal(0, 2, (3, 16)), rng.normal(0, 1, (photographs.max() + 1, 16))
    return Neighbours.of(ROWS, of_class[labels] + of_photograph[photographs] + rng.normal(0, 1, (N, 16)))


def digest(text: object) -> str:
    return hashlib.md5(str(text).encode(), usedforsecurity=False).hexdigest()


def same(grouping: Grouping | None, photographs: np.ndarray) -> bool:
    assert grouping is not None
    pairs = set(zip(grouping.groups, photographs.tolist(), strict=True))
    return len(pairs) == grouping.count == len(set(photographs.tolist()))


PIECES = np.arange(N) % 24  # counted anew now and then
NAMED = {
    "IMG_{p:04d}-{i}.jpg": r"^(IMG_\d+)-\d+",
    "DSC{q}_idx{i}.png": r"^(DSC\d+)_idx\d+",
    "scan_2024-05-{p:02d}_r{r:02d}_c{c:02d}.tif": r"^(scan_\d+-\d+-\d+)_r\d+_c\d+",
    "plate{q}well{i}.png": r"^(plate\d+)well\d+",
    "{i:03d}_tray_{q}.jpg": r"^\d+_tray_(\d+)",
    "leaf {i} of ({q}) b.jpeg": r"^leaf \d+ of \((\d+)\) b",
    "IMG_{p}_jpg.rf.{h}.jpg": r"^(IMG_\d+)_jpg\.rf\.[^\W_]+",
    "{k}_{i}.png": r"^([^\W_]+)_\d+",
    "20240501T1{p:05d}_{i}.png": r"^(\d+T\d+)_\d+",
}


def named(form: str, photographs: np.ndarray) -> list[str]:
    return [
        form.format(p=p, q=6700 + p, i=i, r=i // 6, c=i % 6, h=digest(row), k=digest(p)[:12])
        for row, (p, i) in enumerate(zip(photographs.tolist(), PIECES.tolist(), strict=True))
    ]


@pytest.mark.parametrize(("form", "regex"), NAMED.items())
def test_photographs_are_read_from_names_of_any_form(form: str, regex: str):
    photographs, labels = drawn()
    names = named(form, photographs)
    guessed = guess_grouping(names, labels, neighbours=alike(photographs, labels))
    assert same(guessed, photographs)
    assert guessed is not None
    assert guessed.regex == regex
    assert guessed.nearness is not None
    assert guessed.nearness.share > 2 * guessed.nearness.chance
    assert groups_of([Path("a", name) for name in names], regex) == guessed.groups
    assert same(guess_grouping(names, labels), photographs), "by the names alone"


def test_folders_below_the_class_are_groups():
    photographs, labels = drawn()
    names = [f"a/plate{p}/{i:02d}.png" for p, i in zip(photographs, PIECES, strict=True)]
    for neighbours in (None, alike(photographs, labels)):
        guessed = guess_grouping(names, labels, neighbours=neighbours)
        assert same(guessed, photographs)
        assert guessed is not None
        assert (guessed.regex, guessed.pattern) == (None, "the folders")


def test_capture_times_are_groups():
    photographs, labels = drawn()
    names = [f"{digest(row)}.jpg" for row in ROWS]
    times = [5000.0 * p + i for p, i in zip(photographs, PIECES, strict=True)]
    guessed = guess_grouping(names, labels, times, alike(photographs, labels))
    assert same(guessed, photographs)
    assert guessed is not None
    assert "the times at which they were taken" in guessed.pattern


def test_neighbours_in_a_series_are_groups_only_by_features():
    """A counter may merely be sorted by class: names alone say nothing."""
    photographs, labels = drawn()
    photographs = ROWS // 10
    labels = np.sort(labels)
    names = [f"{row:05d}.jpg" for row in ROWS]
    assert guess_grouping(names, labels) is None
    guessed = guess_grouping(names, labels, neighbours=alike(photographs, labels))
    assert guessed is not None
    assert guessed.regex == r"^(\d+)\d"
    assert guess_grouping(names, labels, neighbours=alike(ROWS, labels)) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("form", ["IMG_{p:04d}-{i}.jpg", "{k}_{i}.png", "plate{q}well{i}.png", "{i}{h}.png"])
def test_random_groups_are_none(form: str, seed: int):
    photographs, labels = drawn(seed)
    fake = np.random.default_rng(100 + seed).permutation(photographs)
    assert guess_grouping(named(form, fake), labels, neighbours=alike(photographs, labels, seed)) is None


def test_the_class_in_a_name_is_no_photograph():
    _, labels = drawn()
    for form in ("class{c}_{row}.jpg", "{word}_{row:04d}.jpg", "{row}.jpg", "{h}.jpg", "{word}/{row}.jpg"):
        names = [
            form.format(c=label, row=row, h=digest(row), word=("cat", "dog", "cow")[label])
            for row, label in enumerate(labels.tolist())
        ]
        assert guess_grouping(names, labels) is None
        assert guess_grouping(names, labels, neighbours=alike(ROWS, labels)) is None


def test_names_alone_tell_photographs_by_their_classes():
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 40, 400)
    labels = photograph % 4  # each photograph holds one class
    names = [f"IMG_2016_{photo:03d}_{row}.jpg" for row, photo in enumerate(photograph)]
    guessed = guess_grouping(names, labels)
    assert guessed is not None
    assert (guessed.count, guessed.pure, guessed.several) == (40, 40, 40)
    assert guessed.told == 1
    assert guessed.expected < 0.5
    mixed = measure_grouping("x", guessed.groups, rng.integers(0, 4, 400))
    assert abs(mixed.told - mixed.expected) < 0.1


def test_the_coarsest_groups_that_still_explain_are_chosen():
    """Pieces of a photograph are alike, and so are photographs of one plant: the plant is what belongs together."""
    plants = ROWS // 12
    labels = np.random.default_rng(0).integers(0, 3, N)
    names = [f"plant{p}_photo{row % 12 // 3}_{row % 3}.jpg" for row, p in enumerate(plants)]
    guessed = guess_grouping(names, labels, neighbours=alike(plants, labels))
    assert guessed is not None
    assert guessed.regex == r"^(plant\d+)_photo\d+_\d+"
    guessed = guess_grouping(names, labels, neighbours=alike(ROWS // 3, labels))
    assert guessed is not None
    assert guessed.regex == r"^(plant\d+_photo\d+)_\d+"


def test_strange_names_are_read_in_short_time():
    names = ["x" * 250 + f"{row}.png" for row in range(50)] + [
        "-_.()[]{}^$|+*?\\'.png",
        ".png",
        "",
        "é\udce9 1.png",
    ]
    labels = np.arange(len(names)) % 2
    guess_grouping(names, labels)
    assert name_patterns(["a1b2c3d4e5f6g7h8i9j0k1l2m3.png"] * 3)
    assert guess_grouping(["." * n for n in range(4)], np.asarray([0, 1, 0, 1])) is None


def test_the_capture_time_is_read(tmp_path: Path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 10:00:30"
    first = datetime(2024, 5, 1, 10, 0, 30) - datetime(1970, 1, 1)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (9, 9)).save(tmp_path / "b.jpg")
    assert read_facts(tmp_path / "a.jpg").taken == first / timedelta(seconds=1)
    assert read_facts(tmp_path / "b.jpg").taken is None
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "    :  :     :  :  "
    Image.new("RGB", (9, 9)).save(tmp_path / "c.jpg", exif=exif)
    assert read_facts(tmp_path / "c.jpg").taken is None


def test_equal_files_do_not_hide_photographs():
    """Equal files share a group of the split; what is cross-validated keeps photographs and equal files together."""
    photographs, labels = drawn()
    names = named("IMG_{p:04d}-{i}.jpg", photographs)
    digests = [str(row) for row in ROWS]
    digests[-1] = digests[0]
    table = ImageTable(
        Path("r"),
        list("abc"),
        [Path("r", "abc"[label], name) for name, label in zip(names, labels.tolist(), strict=True)],
        labels,
        np.full(N, "train"),
        joined([str(row) for row in ROWS], [(0, N - 1)]),
        digests,
    )
    facts = Audited(SimpleNamespace(table=table), None)
    facts.__dict__["files"] = [FileFacts(9, 9, "JPEG RGB", 5.0)] * N
    assert same(facts.grouping, photographs)
    assert len(set(facts.groups)) == PHOTOGRAPHS - 1
    assert facts.groups[0] == facts.groups[-1]
    table.groups = [str(row // 2) for row in ROWS]  # a manifest's own
    again = Audited(SimpleNamespace(table=table), None)
    again.__dict__["files"] = facts.files
    assert len(set(again.groups)) == N // 2 - 1


def test_a_number_that_counts_the_images_of_each_class_shows_no_photographs():
    names = [f"im_{label}_{number}.png" for label in range(2) for number in range(20)]
    assert guess_grouping(names, np.repeat([0, 1], 20)) is None
