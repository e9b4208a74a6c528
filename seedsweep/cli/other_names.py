"""The settings by their names in other programs, and what to say of settings that seedsweep does not have."""

from __future__ import annotations

import re

from seedsweep.config.override_values import is_text, kinds
from seedsweep.runs.command import typed

OTHER_NAMES = {
    "learning_rate": "optim.lr", "lr": "optim.lr", "wd": "optim.weight_decay", "weight_decay": "optim.weight_decay",
    "optimizer": "optim", "optimiser": "optim", "opt": "optim",
    "epochs": "trainer.max_epochs", "n_epochs": "trainer.max_epochs", "num_epochs": "trainer.max_epochs",
    "early_stopping": "trainer.patience", "device": "trainer.accelerator", "amp": "trainer.precision",
    "batch_size": "data.batch_size", "bs": "data.batch_size", "batch": "data.batch_size",
    "image_size": "data.image_size", "img_size": "data.image_size", "imgsz": "data.image_size",
    "input_size": "data.image_size", "size": "data.image_size",
    "root": "data.root", "data_dir": "data.root", "data_path": "data.root", "dataset": "data.root",
    "images": "data.root", "folder": "data.root", "path": "data.root", "num_workers": "data.workers",
    "model": "backbone", "arch": "backbone", "net": "backbone", "network": "backbone", "encoder": "backbone",
    "pretrained": "backbone.weights", "weights": "backbone.weights", "freeze": "backbone.freeze",
    "augmentation": "augment", "aug": "augment", "transforms": "augment", "dropout": "head.dropout",
    "smoothing": "head.label_smoothing", "trials": "study.n_trials", "random_seed": "seed",
    "output": "paths.outputs", "out": "paths.outputs", "out_dir": "paths.outputs", "output_dir": "paths.outputs",
    "save_dir": "paths.outputs", "ckpt": "checkpoint", "name": "experiment.name",
}  # fmt: skip
AS_OPTIONS = {"data": "data.root", "experiment": "experiment", "sweep": "sweep", "study": "study"}
NOT_YET = (
    (r"(trainer\.)?logger(\..*)?|wandb|mlflow|tracking",
     "runs are written for TensorBoard, and there is no other logger yet: task=dashboard shows them."),
    (r"(trainer\.)?(devices|gpus|num_gpus|n_gpus|num_nodes|strategy)",
     "a run uses one device, and there is no training on several yet: hydra/launcher=workers runs a grid's jobs "
     "beside one another."),
    (r"(optim\.|trainer\.)?(lr_)?(scheduler|schedule|warmup|warmup_epochs)",
     "the learning rate stays as it is, and there is no schedule yet: optim.lr sets it."),
    (r"(trainer\.)?(accumulate_grad_batches|gradient_clip_val|swa|ema)",
     "there is nothing like it yet."),
)  # fmt: skip
AUGMENTS = re.compile(
    r"(rand|auto|trivial)_?aug.*|augmix|mix_?up|cut_?mix|cut_?out|random_?erasing|strong|heavy", re.I
)


def not_yet(key: str) -> str | None:
    """Returns what there is in the place of something that there is not."""
    return next((text for pattern, text in NOT_YET if re.fullmatch(pattern, key.lower())), None)


def instead_of(group: str, choice: str) -> str:
    """Returns the end of the sentence about an unknown choice that resembles none."""
    if group == "augment" and AUGMENTS.fullmatch(choice):
        return "; there is none of that kind yet: augment=light is the nearest."
    return "."


def as_setting(option: str, args: list[str]) -> str | None:
    """Writes an option that does not exist as the setting that was meant: ``--epochs 5`` is ``trainer.max_epochs=5``.

    Args:
        option: with its dashes.
        args: the command line, where its value may follow.
    """
    name = option.lstrip("-").replace("-", "_")
    if told := not_yet(name):
        return f"{name}=..., but {told}"
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
