"""A BatchNorm policy for somebody else's LightningModule."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
from torch import nn

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import BatchNormHandle, norm_layers, policy_named, set_batchnorm
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)


class BatchNormCallback(pl.Callback):
    """Keeps the BatchNorm layers of any LightningModule under a policy while a Trainer works on it.

    The policy is set before the optimisers are made, and again in every epoch after all other callbacks. So it also
    holds where Lightning calls ``train()``, where ``BackboneFinetuning`` unfreezes layers, where layers become
    SyncBatchNorm, after a resume, and in every process of a distributed training. At the end the layers get back
    their own switches.

    Example:
        >>> import torch, pytorch_lightning as pl, seedsweep as ss
        >>> class Net(pl.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.backbone = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
        ...         self.head = torch.nn.Linear(8, 2)
        ...     def training_step(self, x, number):
        ...         return self.head(self.backbone(x)).square().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.head.parameters(), 0.1)
        >>> net = Net()
        >>> policy = ss.BatchNormCallback("inference", submodule="backbone")
        >>> quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
        >>> trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[policy], **quiet)
        >>> trainer.fit(net, torch.utils.data.DataLoader(torch.randn(32, 4) + 5, batch_size=8))
        >>> net.backbone[1].running_mean.abs().max().item()  # training has not moved it
        0.0

    Args:
        policy: as of :func:`set_batchnorm`.
        submodule: name of the part whose layers are meant, such as ``backbone``; None: the whole module.

    Raises:
        SeedsweepError: there is no such policy; or, when a Trainer begins, no such submodule.
    """

    def __init__(self, policy: str | BatchNormConfig, submodule: str | None = None) -> None:
        self.policy = policy_named(policy) if isinstance(policy, str) else policy
        self.submodule = submodule
        self._handle: BatchNormHandle | None = None
        self._due = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sets the policy before the optimisers are made, on layers that are there already."""
        self._release()  # a training that ended in an error has not
        if stage == "fit" and self._part(pl_module) is not None:
            self._set(pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets it on layers that the module's own ``setup`` or ``configure_model`` made, too."""
        if self._part(pl_module) is None:
            raise SeedsweepError(
                f"BatchNormCallback: {type(pl_module).__name__} has no submodule {self.submodule!r}, but "
                f"{', '.join(name for name, _ in pl_module.named_children()) or 'none at all'}."
            )
        self._hold(pl_module)
        where = f" in {self.submodule}" if self.submodule else ""
        layers = len(self._handle.layers) if self._handle else 0
        if layers:
            log.info("BatchNorm policy %s on %d layers%s", self.policy.name, layers, where)
        else:
            log.warning("there are no BatchNorm layers%s: BatchNormCallback changes nothing", where)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes that other callbacks may change layers now."""
        self._due = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the policy again before the first batch of an epoch."""
        if self._due:
            self._hold(pl_module)
            self._due = False

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the layers their own switches back."""
        self._release()

    def _hold(self, pl_module: pl.LightningModule) -> None:
        """Sets the policy again, on the layers that now are there: they may have become SyncBatchNorm."""
        handle = self._handle
        now = {id(layer) for _, layer in norm_layers(self._part(pl_module) or pl_module)}
        if handle is not None and now == {id(layer) for layer in handle.layers.values()}:
            handle.apply()
            return
        self._release()
        layers = dict(norm_layers(pl_module))
        for name, before in (handle.layers if handle else {}).items():
            if name in layers:  # made from the layer before, while that was under the policy
                layers[name].track_running_stats = before.track_running_stats
        self._set(pl_module)

    def _set(self, pl_module: pl.LightningModule) -> None:
        modules = None if self.submodule is None else [self.submodule]
        self._handle = set_batchnorm(pl_module, self.policy, modules)

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _part(self, pl_module: pl.LightningModule) -> nn.Module | None:
        return pl_module if self.submodule is None else dict(pl_module.named_modules()).get(self.submodule)
