"""The page that --help prints."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from seedsweep.cli.config.yaml_file import read_yaml
from seedsweep.cli.sentences import choices_of
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir, path_of

GROUPS = ("data", "augment", "preprocess", "backbone", "batchnorm", "head", "optim", "trainer", "features")

TEXT = """\
seedsweep: which transfer-learning set-up works on my images, and why do the others fail?

[bold]One arm[/bold]        python -m seedsweep +experiment=frozen_bn data=folder data.root=~/seeds
[bold]All arms[/bold]       python -m seedsweep -m +sweep=arms data=folder data.root=~/seeds
[bold]Any grid[/bold]       python -m seedsweep -m +experiment=scratch,frozen_bn seed=1,2,3
[bold]The story[/bold]      python -m seedsweep -m +sweep=ladder data=folder data.root=~/seeds
[bold]A study[/bold]        python -m seedsweep +study=head +experiment=frozen_bn data=folder data.root=~/seeds
[bold]The images[/bold]     python -m seedsweep audit ~/seeds      (before any net)
[bold]Diagnosis[/bold]      python -m seedsweep task=diagnose diagnose.run=DIR
[bold]Report[/bold]         python -m seedsweep task=report report.dir=DIR    (written by itself at the end, too)
[bold]Answers[/bold]        python -m seedsweep task=predict checkpoint=DIR data.root=~/new predict.out=answers.csv
[bold]Score[/bold]          python -m seedsweep task=evaluate checkpoint=DIR data.root=~/labelled
[bold]Export[/bold]         python -m seedsweep task=export checkpoint=DIR export.out=net.onnx
[bold]In parallel[/bold]    python -m seedsweep -m +sweep=arms hydra/launcher=workers   (slurm, ray_cluster, ...)
[bold]Go on[/bold]          python -m seedsweep resume=DIR      (an interrupted run or grid)
[bold]Cache[/bold]          python -m seedsweep task=cache      (stored features: list, clear)
[bold]Dashboard[/bold]      tensorboard --logdir DIR            (or: make dashboard)
"""

SETTINGS = (
    ("seed", "1", "initial head, order of batches, augmentation, dropout"),
    (
        "data.root",
        "",
        "with data=folder: folder of class folders, or of train/val/test folders with class folders",
    ),
    ("data.image_size", "[224,224]", "height and width in pixels (demo: [128,128])"),
    ("data.batch_size", "32", "images a training step (some experiments: 4)"),
    ("data.group_regex", "", "keep files with the same first group on one side of the split"),
    ("data.folds", "", "5: with -m every arm is tested on all images, a fifth at a time"),
    ("trainer.max_epochs", "25", "with trainer.patience=10 epochs of early stopping"),
    ("optim.lr", "1e-3", "learning rate"),
    ("head.width", "1024", "of the Dense layer; 0: none"),
    ("head.dropout", "0", "before the last layer"),
    ("backbone.weights", "auto", "auto, none, or a .safetensors, .pt or .pth file, or Keras' .h5 or .keras"),
    ("hydra.run.dir", "", "folder of a single run (a grid: hydra.sweep.dir)"),
)


def print_help(args: list[str]) -> None:
    """Prints usage, experiments, groups and settings."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(TEXT)
    folders = [conf_dir()]
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        option, _, value = arg.partition("=")
        if option in ("--config-dir", "-cd") and (value or following):
            folders.append(path_of(value or following))
    console.print("[bold]Experiments[/bold] (+experiment=)")
    for folder in folders:
        for path in sorted((folder / "experiment").glob("*.yaml")):
            console.print(f"  {escape(path.stem):<20} {escape(_teaches(path))}")
    sweeps = sorted(path.stem for folder in folders for path in (folder / "sweep").glob("*.yaml"))
    console.print(f"\n[bold]Sweeps[/bold] (-m +sweep=)  {', '.join(sweeps)}")
    console.print("\n[bold]Groups[/bold]")
    for group in GROUPS:
        console.print(f"  {group + '=':<14} {', '.join(choices_of(group))}")
    console.print("\n[bold]Settings used most[/bold]")
    for key, default, meaning in SETTINGS:
        console.print(f"  {key:<20} {escape(default):<12} {meaning}")
    console.print('\nShell completion: eval "$(seedsweep -sc install=bash)"')
    console.print("The whole configuration: --cfg job. Hydra's own options: --hydra-help.")


def _teaches(path: Path) -> str:
    """Returns what an experiment's file says of itself, or what is wrong with it."""
    try:
        experiment = read_yaml(path, "experiment")[0].get("experiment")
    except SeedsweepError as error:
        return str(error)
    return str(experiment.get("teaches", "")) if isinstance(experiment, dict) else ""
