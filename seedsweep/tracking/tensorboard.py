"""TensorBoard events of one run.

Curves that belong together share one chart: TensorBoard overlays equal tags of different runs, so train and val
are written as two runs below the run's folder, and so are the probe's two modes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from seedsweep.reporting.confusion import confusion_figure
from seedsweep.reporting.style import figure

log = logging.getLogger(__name__)

Labels = NDArray[np.int64]

CHARTS = {  # history column: (run below the folder, chart)
    "train/loss": ("train", "1 learning/loss"),
    "val/loss": ("val", "1 learning/loss"),
    "train/acc": ("train", "1 learning/accuracy"),
    "val/acc": ("val", "1 learning/accuracy"),
    "val/macro_f1": ("val", "1 learning/macro_f1"),
    "train_images/acc_train_mode": ("train_mode", "2 diagnosis/accuracy on the same training images"),
    "train_images/acc_eval_mode": ("eval_mode", "2 diagnosis/accuracy on the same training images"),
    "bn_gap": ("", "2 diagnosis/bn_gap"),
    "gap/generalisation": ("", "2 diagnosis/generalisation gap"),
    "lr": ("", "3 optimiser/lr"),
}
RECALL = "val/recall/"


class RunTensorBoard:
    """Writers for one run.

    Args:
        folder: the run's TensorBoard folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first_step: int | None = None
        self._writers: dict[str, SummaryWriter] = {}

    def resume(self, first_step: int) -> None:
        """Tells TensorBoard to forget what an interrupted run wrote from ``first_step`` on."""
        self.first_step = first_step

    def _writer(self, run: str) -> SummaryWriter:
        if run not in self._writers:
            folder = self.folder / run if run else self.folder
            self._writers[run] = SummaryWriter(str(folder), purge_step=self.first_step)  # type: ignore[no-untyped-call]
        return self._writers[run]

    def epoch(self, row: dict[str, float], epoch: int) -> None:
        """Writes a row of the history."""
        for key, value in row.items():
            if key.startswith(RECALL):
                run, chart = "", f"4 recall/{key.removeprefix(RECALL)}"
            elif key in CHARTS:
                run, chart = CHARTS[key]
            else:
                continue
            self._writer(run).add_scalar(chart, value, epoch)  # type: ignore[no-untyped-call]
        for writer in self._writers.values():
            writer.flush()  # type: ignore[no-untyped-call]

    def confusion(self, labels: Labels, predicted: Labels, classes: list[str], epoch: int) -> None:
        """Writes the confusion matrix of labels [N] and predictions [N] as a picture."""
        made = confusion_figure(labels, predicted, classes, "validation images")
        self._writer("").add_figure("confusion matrix", made, epoch)  # type: ignore[no-untyped-call]

    def mistakes(
        self,
        images: Tensor,
        labels: Labels,
        predicted: Labels,
        confidence: NDArray[np.float32],
        classes: list[str],
        epoch: int,
    ) -> None:
        """Writes a gallery of images uint8 [N, 3, H, W], each captioned with truth, answer and confidence."""
        columns = min(6, len(images))
        rows = -(-len(images) // columns)
        made = figure(2.1 * columns, 2.4 * rows)
        for axes in np.atleast_1d(made.subplots(rows, columns)).flat:
            axes.set_axis_off()
        for axes, image, label, answer, sure in zip(
            made.axes, images, labels, predicted, confidence, strict=False
        ):
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_title(f"{classes[label]}\n→ {classes[answer]} {sure:.0%}", fontsize=9)
        self._writer("").add_figure("worst mistakes", made, epoch)  # type: ignore[no-untyped-call]

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Writes the net's graph; a net that can't be traced costs the graph, not the run."""
        try:
            with torch.no_grad():
                self._writer("").add_graph(model, example)  # type: ignore[no-untyped-call]
        except Exception as error:
            log.info("no graph for TensorBoard: %s", str(error).splitlines()[0])

    def hparams(self, hparams: dict[str, Any], metrics: dict[str, float]) -> None:
        """Writes the run's row of the HPARAMS table, in the run itself."""
        from torch.utils.tensorboard.summary import hparams as summary

        writer = self._writer("")
        file_writer = writer._get_file_writer()  # type: ignore[no-untyped-call]
        for part in summary(hparams, metrics):  # type: ignore[no-untyped-call]
            file_writer.add_summary(part)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Closes all writers."""
        for writer in self._writers.values():
            writer.close()  # type: ignore[no-untyped-call]
        self._writers.clear()
