"""What people type first: words without ``=``, and settings by their names in other programs."""

from __future__ import annotations

import difflib
import pkgutil
import re
from pathlib import Path

from seedsweep.cli.config.override_values import is_text, kinds
from seedsweep.cli.config.schema import TASKS
from seedsweep.data.image_formats import suffixes
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir, path_of
from seedsweep.overrides import key_of, setting
from seedsweep.runs.command import typed

RESUME = "resume"
# what the word after a task's name sets; a folder of images is told from a run by what it holds
OF_A_FOLDER = {"report": "report.dir", "dashboard": "dashboard.dir", "export": "checkpoint", RESUME: RESUME}
WITH_A_NET = ("predict", "evaluate")  # a run and a folder of images
RUNS = ("metrics.json", ".hydra", "multirun.yaml", "study.journal")


def as_overrides(given: list[str]) -> list[str]:
    """Turns words into overrides: ``audit DIR``, ``diagnose DIR``, ``train DIR``, ``report DIR``, ``resume DIR``,
    ``predict RUN DIR``, ``evaluate RUN DIR``.

    Returns:
        Overrides alone.

    Raises:
        SeedsweepError: a word means nothing, or several things.
    """
    words = [arg for arg in given if "=" not in arg and (not arg.startswith("~") or path_of(arg).exists())]
    rest = [arg for arg in given if arg not in words]
    if not words:
        return given
    verb, *names = words
    tasks = [module.name for module in pkgutil.iter_modules([str(TASKS)])]
    if verb not in (*tasks, RESUME):
        raise SeedsweepError(_meaning(verb, tasks))
    if len(names) > (2 if verb in WITH_A_NET else 1):
        raise SeedsweepError(f"{' '.join(words)} is more than {verb} takes: settings are written key=value.")
    pairs = [(_key(verb, name), name) for name in names]
    keys = [key for key, _ in pairs] + [key_of(arg) for arg in rest]
    if twice := [key for key, _ in pairs if keys.count(key) > 1]:
        raise SeedsweepError(f"{twice[0]} is given twice after {verb}: name one folder for it.")
    if verb != RESUME and "task" in keys:
        raise SeedsweepError(f"{verb} is a task, and task= is given, too: name one task.")
    made = [setting(key, name) for key, name in pairs]
    if verb == "study" and not any(arg.lstrip("+").startswith("study=") for arg in rest):
        root = typed(*pairs) or "data.root=DIR"
        raise SeedsweepError(f"a study needs a space to search: +study=head +experiment=frozen_bn {root}")
    if verb == RESUME:
        if not made:
            raise SeedsweepError(
                "resume lacks its folder: write resume=DIR, with the folder that was printed."
            )
        return [*made, *rest]
    return [f"task={verb}", *made, *rest]


def _key(verb: str, name: str) -> str:
    """Returns the setting that ``name`` is for, after the name of a task."""
    path = path_of(name)
    is_run = _is_run(path)
    if verb in OF_A_FOLDER:
        return OF_A_FOLDER[verb]
    if verb == "cache":
        return "cache.action"
    if verb == "diagnose":
        return "diagnose.run" if is_run else "diagnose.checkpoint" if path.is_file() else "data.root"
    if verb in WITH_A_NET:
        return "checkpoint" if is_run or path.suffix == ".ckpt" else "data.root"
    if verb == "audit" and is_run:
        raise SeedsweepError(f"{name} holds results: audit takes a folder of images.")
    if verb in ("answer", "audit", "train", "study"):
        if is_run:
            raise SeedsweepError(
                f"{name} holds what was trained already: {typed((RESUME, name))} goes on with it."
            )
        return "data.root"
    raise SeedsweepError(f"{verb} takes no folder: leave out {name}.")


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RUNS)


def _meaning(word: str, tasks: list[str]) -> str:
    """Says what a word may have been meant for."""
    path = path_of(word)
    root = typed(("data.root", word))
    what = f"what to do with {word}?"
    if _is_run(path):
        report = typed(("report.dir", word))
        return f"{what} {typed((RESUME, word))} goes on with it, task=report {report} writes its report."
    if path.is_dir():
        return (
            f"what to do with the folder {word}? +experiment=frozen_bn {root} trains on its images, "
            f"-m +sweep=arms {root} compares all arms, task=diagnose {root} examines the images and settings."
        )
    if path.is_file() and path.suffix.lower() in suffixes():
        return f"{what} task=predict checkpoint=RUN {root} classifies it."
    if path.is_file():
        return (
            f"what to do with the file {word}? Write it as {typed(('key', word))}; --help lists the settings."
        )
    for group in ("+experiment", "-m +sweep", "+study", "backbone", "batchnorm"):
        if (conf_dir() / group.rpartition("+")[2] / f"{word}.yaml").is_file():
            return f"'{word}' can't be read: write a setting as key=value ({group}={word}?)."
    near = difflib.get_close_matches(word, [*tasks, RESUME], 1)
    hint = f"; did you mean {near[0]}?" if near else ", a task as task=NAME; --help lists both."
    return f"'{word}' can't be read: write a setting as key=value{hint}"


OTHER_NAMES = {
    "learning_rate": "optim.lr", "lr": "optim.lr", "wd": "optim.weight_decay", "weight_decay": "optim.weight_decay",
    "optimizer": "optim", "optimiser": "optim", "opt": "optim",
    "scheduler": "optim.schedule", "lr_scheduler": "optim.schedule", "lr_schedule": "optim.schedule",
    "sched": "optim.schedule", "warmup_epochs": "optim.warmup", "gradient_clip_val": "optim.clip_norm",
    "clip_grad": "optim.clip_norm", "grad_clip": "optim.clip_norm", "accumulate_grad_batches": "optim.accumulate",
    "grad_accum_steps": "optim.accumulate", "gradient_accumulation_steps": "optim.accumulate",
    "epochs": "trainer.max_epochs", "n_epochs": "trainer.max_epochs", "num_epochs": "trainer.max_epochs",
    "early_stopping": "trainer.patience", "ema": "trainer.ema", "ema_decay": "trainer.ema",
    "device": "trainer.accelerator", "amp": "trainer.precision",
    "batch_size": "data.batch_size", "bs": "data.batch_size", "batch": "data.batch_size",
    "image_size": "data.image_size", "img_size": "data.image_size", "imgsz": "data.image_size",
    "input_size": "data.image_size", "size": "data.image_size",
    "root": "data.root", "data_dir": "data.root", "data_path": "data.root", "dataset": "data.root",
    "images": "data.root", "folder": "data.root", "path": "data.root", "num_workers": "data.workers",
    "model": "backbone", "arch": "backbone", "net": "backbone", "network": "backbone", "encoder": "backbone",
    "pretrained": "backbone.weights", "weights": "backbone.weights", "freeze": "backbone.freeze",
    "augmentation": "augment", "aug": "augment", "transforms": "augment", "dropout": "head.dropout",
    "smoothing": "head.label_smoothing", "trials": "study.n_trials", "random_seed": "seed",
    "loggers": "logger", "wandb": "logger", "mlflow": "logger", "tracking": "logger",
    "output": "paths.outputs", "out": "paths.outputs", "out_dir": "paths.outputs", "output_dir": "paths.outputs",
    "save_dir": "paths.outputs", "ckpt": "checkpoint", "name": "experiment.name",
}  # fmt: skip
AS_OPTIONS = {"data": "data.root", "experiment": "experiment", "sweep": "sweep", "study": "study"}
NOT_YET = (
    (r"(trainer\.)?(devices|gpus|num_gpus|n_gpus|num_nodes|strategy)",
     "a run uses one device, and there is no training on several yet: hydra/launcher=workers runs a grid's jobs "
     "beside one another."),
    (r"(trainer\.)?swa", "there is no plain average of weights yet; trainer.ema=0.99 is a moving one."),
)  # fmt: skip
AUGMENTS = {
    r"mix_?up.*": "mixup", r"cut_?mix.*": "cutmix", r"cut_?out|random_?erasing": "erasing",
    r"rand_?aug.*": "randaugment", r"(auto|trivial)_?aug.*|augmix|strong|heavy": "trivial",
}  # fmt: skip


def not_yet(key: str) -> str | None:
    """Returns what there is in the place of something that there is not."""
    return next((text for pattern, text in NOT_YET if re.fullmatch(pattern, key.lower())), None)


def instead_of(group: str, choice: str) -> str:
    """Returns the end of the sentence about an unknown choice that resembles none."""
    known = AUGMENTS.items() if group == "augment" else ()
    nearest = next((name for pattern, name in known if re.fullmatch(pattern, choice, re.I)), None)
    return f"; augment={nearest} is the nearest." if nearest else "."


def as_setting(option: str, args: list[str]) -> str | None:
    """Writes an option that does not exist as the setting that was meant: ``--epochs 5``, ``trainer.max_epochs=5``."""
    name = option.lstrip("-").replace("-", "_")
    if text := not_yet(name):
        return f"{name}=..., but {text}"
    named = [key for key in kinds() if key.rpartition(".")[2] == name and not key.startswith("hydra.")]
    exact = name if name in kinds() else None
    key = exact or AS_OPTIONS.get(name) or OTHER_NAMES.get(name) or (named[0] if len(named) == 1 else None)
    if key is None:
        return None
    place = next(n for n, arg in enumerate(args) if arg.split("=")[0] == option)
    _, equals, value = args[place].partition("=")
    following = args[place + 1] if place + 1 < len(args) else "-"
    is_value = "=" not in following and not following.startswith("-")
    text = value if equals else following if is_value else "VALUE"
    return typed((key, text) if is_text(key) else f"{key}={text}")
