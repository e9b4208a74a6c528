"""TensorBoard events of one run.

Curves that belong together share one chart: TensorBoard overlays equal tags of different runs, so train and val
are two runs below the run's folder, and no more than two, for a grid of 24 jobs lists 48 of them. ``val`` has
all else too: `val$` in TensorBoard's run filter leaves one line a job. Steps are epochs from 1, as in the log.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

FOLDER = "tb"  # in the run's folder; short, for it is part of every name in TensorBoard's list of runs
TRAIN, VAL = "train", "val"
MODES = "2 diagnosis/train vs eval mode, training images"
CHARTS = {  # history column: (run, chart)
    "train/loss": (TRAIN, "1 learning/loss"),
    "val/loss": (VAL, "1 learning/loss"),
    "train/acc": (TRAIN, "1 learning/accuracy"),
    "val/acc": (VAL, "1 learning/accuracy"),
    "val/macro_f1": (VAL, "1 learning/macro_f1"),
    "train_images/acc_train_mode": (TRAIN, MODES),
    "train_images/acc_eval_mode": (VAL, MODES),
    "bn_gap": (VAL, "2 diagnosis/bn_gap"),
    "gap/generalisation": (VAL, "2 diagnosis/generalisation gap"),
}
RECALL = "val/recall/"
FIRST_COLUMNS = ("arm", "batchnorm", "lr", "width", "dropout")
CARD_DPI = 90  # a card is about 360 px wide, and shrinks what is wider without smoothing it


class RunTensorBoard:
    """Writers for one run.

    Args:
        run_dir: the run's folder; events go into ``FOLDER`` below it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / FOLDER
        self._purge_step: int | None = None
        self._writers: dict[str, SummaryWriter] = {}

    def resume(self, first_epoch: int) -> None:
        """Tells TensorBoard to forget what an interrupted run wrote from ``first_epoch`` (from 0) on."""
        self._purge_step = first_epoch + 1

    def start_anew(self) -> None:
        """Removes what an earlier attempt wrote."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _writer(self, run: str) -> SummaryWriter:
        if run not in self._writers:
            folder = str(self.folder / run)
            self._writers[run] = SummaryWriter(folder, purge_step=self._purge_step)  # type: ignore[no-untyped-call]
        return self._writers[run]

    def epoch(self, row: dict[str, float], epoch: int) -> None:
        """Writes a row of the history; ``epoch`` counts from 0."""
        for key, value in row.items():
            if key.startswith(RECALL):
                run, chart = VAL, f"3 recall/{key.removeprefix(RECALL)}"
            elif key in CHARTS:
                run, chart = CHARTS[key]
            else:
                continue
            self._writer(run).add_scalar(chart, value, epoch + 1)  # type: ignore[no-untyped-call]
        for writer in self._writers.values():
            writer.flush()  # type: ignore[no-untyped-call]

    def picture(self, name: str, made: Figure, epoch: int) -> None:
        """Writes a figure under the pictures."""
        made.set_dpi(CARD_DPI)
        self._writer(VAL).add_figure(f"4 pictures/{name}", made, epoch + 1)  # type: ignore[no-untyped-call]

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Writes the net's graph; a net that can't be traced costs the graph, not the run."""
        try:
            with torch.no_grad(), warnings.catch_warnings():
                # a picture of the graph is no deployed net: that sizes become constants does it no harm
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
                self._writer(VAL).add_graph(model, example)  # type: ignore[no-untyped-call]
        except Exception as error:
            log.info("no graph for TensorBoard: %s", str(error).splitlines()[0])

    def hparams(self, hparams: dict[str, Any], metrics: dict[str, float]) -> None:
        """Writes the run's row of the HPARAMS table."""
        from torch.utils.tensorboard.summary import hparams as summary

        # torch would write True as 1.0000
        said = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in hparams.items()
        }
        writer = self._writer(VAL)
        file_writer = writer._get_file_writer()  # type: ignore[no-untyped-call]
        experiment, start, end = summary(said, metrics)  # type: ignore[no-untyped-call]
        for part in (_shown_first(experiment), start, end):
            file_writer.add_summary(part)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Closes all writers."""
        for writer in self._writers.values():
            writer.close()  # type: ignore[no-untyped-call]
        self._writers.clear()


def _shown_first(experiment: Summary) -> Summary:
    """Marks the columns that the HPARAMS page opens with: it shows five, marked ones before the alphabet."""
    metadata = experiment.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(metadata.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in FIRST_COLUMNS
    metadata.content = content.SerializeToString()
    return experiment
