"""What people type first: words without ``=``, which become overrides, or a sentence with the way on."""

from __future__ import annotations

import difflib
import pkgutil
from pathlib import Path

from seedsweep.config.schema import TASKS
from seedsweep.data.image_formats import suffixes
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir, path_of
from seedsweep.overrides import key_of, setting
from seedsweep.runs.command import typed

RESUME = "resume"
# what the word after a task's name sets; a folder of images is told from a run by what it holds
OF_A_FOLDER = {"report": "report.dir", "dashboard": "dashboard.dir", "export": "checkpoint", RESUME: RESUME}
RUNS = ("metrics.json", ".hydra", "multirun.yaml", "study.journal")


def as_overrides(given: list[str]) -> list[str]:
    """Turns words into overrides: ``diagnose DIR``, ``train DIR``, ``report DIR``, ``predict RUN DIR``, ``resume DIR``.

    Args:
        given: what is no option.

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
    if len(names) > (2 if verb == "predict" else 1):
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
    if verb == "predict":
        return "checkpoint" if is_run or path.suffix == ".ckpt" else "data.root"
    if verb in ("train", "study"):
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
    if _is_run(path):
        return (
            f"what to do with {word}? {typed((RESUME, word))} goes on with it, "
            f"task=report {typed(('report.dir', word))} writes its report."
        )
    if path.is_dir():
        root = typed(("data.root", word))
        return (
            f"what to do with the folder {word}? +experiment=frozen_bn {root} trains on its images, "
            f"-m +sweep=arms {root} compares all arms, task=diagnose {root} examines the images and settings."
        )
    if path.is_file() and path.suffix.lower() in suffixes():
        return (
            f"what to do with {word}? task=predict checkpoint=RUN {typed(('data.root', word))} classifies it."
        )
    if path.is_file():
        return (
            f"what to do with the file {word}? Write it as {typed(('key', word))}; --help lists the settings."
        )
    for group in ("experiment", "sweep", "study", "backbone", "batchnorm"):
        if (conf_dir() / group / f"{word}.yaml").is_file():
            plus = "" if group in ("backbone", "batchnorm") else "+"
            grid = "-m " if group == "sweep" else ""
            return f"'{word}' can't be read: write a setting as key=value ({grid}{plus}{group}={word}?)."
    near = difflib.get_close_matches(word, [*tasks, RESUME], 1)
    hint = f"; did you mean {near[0]}?" if near else ", a task as task=NAME; --help lists both."
    return f"'{word}' can't be read: write a setting as key=value{hint}"
