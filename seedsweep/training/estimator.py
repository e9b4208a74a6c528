"""The head as a scikit-learn classifier: arrays of features in, class names out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from seedsweep.errors import DivergedError
from seedsweep.models.classifier import Head
from seedsweep.models.options import HeadConfig
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule, divergence
from seedsweep.training.options import OptimConfig

PROBED = 512  # training samples whose accuracy is measured each epoch


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Trains a small net, Linear, ReLU, Dropout, Linear, on features, as the stored route of a run does.

    With validation data the weights of the epoch with the best accuracy on it are kept, else the last ones. Features
    are taken as they are: put a ``StandardScaler`` before it where they are of very different size.

    Example:
        >>> import numpy as np, seedsweep as ss
        >>> random = np.random.default_rng(0)
        >>> y = np.array(["intact", "broken"] * 60)
        >>> x = random.normal(size=(120, 8)) + 2 * (y == "broken")[:, None]
        >>> head = ss.HeadClassifier(width=16, lr=1e-2).fit(x[:80], y[:80], x[80:], y[80:])
        >>> head.score(x[80:], y[80:]) > 0.9, head.classes_.tolist(), head.predict_proba(x[:3]).shape
        (True, ['broken', 'intact'], (3, 2))

    Args:
        width: units of the hidden layer; 0: none, a linear classifier.
        dropout: share of the hidden units (or features) that are dropped in training, 0 to 0.99.
        lr: learning rate of Adam.
        class_weight: in the loss: ``balanced``: inverse to a class's share; a dict of weights by label; None: all
            alike.
        max_epochs: passes over the training samples.
        patience: epochs without a better validation accuracy before training stops; 0: it never stops early. Without
            validation data it doesn't either.
        batch_size: samples a step.
        random_state: of weights, order and dropout; an int gives the same result each time.

    Attributes:
        classes_: labels, sorted.
        head_: the trained :class:`torch.nn.Module`, features [n, C] to logits [n, N].
        history_: a dict an epoch: ``train/loss``, ``train/acc``, ``val/loss``, ``val/acc``, ``val/macro_f1``, ...
        best_epoch_: whose weights were kept, from 0.
        n_features_in_: C.
    """

    def __init__(
        self,
        width: int = 512,
        dropout: float = 0.0,
        lr: float = 1e-3,
        class_weight: str | Mapping[Any, float] | None = None,
        max_epochs: int = 25,
        patience: int = 10,
        batch_size: int = 32,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.width = width
        self.dropout = dropout
        self.lr = lr
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,  # noqa: N803  (scikit-learn's name)
        y: ArrayLike,
        X_val: ArrayLike | None = None,  # noqa: N803
        y_val: ArrayLike | None = None,
    ) -> HeadClassifier:
        """Trains on features X [n, C] and labels y [n].

        Args:
            X: features.
            y: labels, of any type.
            X_val: features of the validation samples, [m, C], which choose the epoch; None: the last one is taken.
            y_val: labels of those, [m].

        Raises:
            SeedsweepError: a parameter is out of its bounds.
            ValueError: shapes don't fit, values are missing, or a validation label does not occur in ``y``.
            DivergedError: the loss became NaN or infinite, and no epoch before that was chosen.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("Give both X_val and y_val, or neither.")
        head_config = HeadConfig(width=self.width, dropout=self.dropout)
        optim = OptimConfig(name="adam", lr=self.lr)
        x, labels = self._numbered(X, y)
        val, val_labels = (x, labels) if X_val is None else self._numbered_val(X_val, y_val)
        n = len(self.classes_)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            head = Head(x.shape[1], n, head_config)
        weights = None
        if self.class_weight is not None:
            weights = compute_class_weight(
                self.class_weight, classes=self.classes_, y=self.classes_[labels.numpy()]
            )
            weights = torch.from_numpy(weights.astype(np.float32))
        data = HeadData(
            lambda epoch: x,
            labels,
            val,
            val_labels,
            x[:PROBED],
            labels[:PROBED],
            [str(name) for name in self.classes_],
        )
        patience = 0 if X_val is None else self.patience
        schedule = HeadSchedule(self.max_epochs, patience, self.batch_size, seed)
        fit = HeadFit(head, data, optim, schedule, weights)
        self.history_: list[dict[str, float]] = []
        while not fit.done:
            self.history_.append(fit.epoch())
        epoch = len(self.history_) - 1
        if (what := divergence(self.history_[-1])) and (X_val is None or fit.best_epoch < 0):
            raise DivergedError(epoch, what, "; take a smaller lr.")
        self.best_epoch_ = epoch
        if X_val is not None:
            head.load_state_dict(fit.best_state)
            self.best_epoch_ = fit.best_epoch
        self.head_ = head.eval()
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Returns the probabilities [n, N] of the classes in ``classes_`` for features X [n, C]."""
        check_is_fitted(self)
        x = torch.from_numpy(validate_data(self, X, dtype=np.float32, reset=False))
        with torch.inference_mode():
            found: NDArray[np.float32] = torch.softmax(self.head_(x), 1).numpy()
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Returns the labels [n] of features X [n, C]."""
        best = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def _numbered(self, x: ArrayLike, y: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
        features, labels = validate_data(self, x, y, dtype=np.float32, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        return torch.from_numpy(features), torch.from_numpy(numbers.astype(np.int64))

    def _numbered_val(self, x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        features, labels = validate_data(self, x, y, dtype=np.float32, reset=False)
        unknown = sorted({str(label) for label in np.setdiff1d(labels, self.classes_)})
        if unknown:
            raise ValueError(f"y_val has labels that y lacks: {', '.join(unknown)}.")
        return torch.from_numpy(features), torch.from_numpy(
            np.searchsorted(self.classes_, labels).astype(np.int64)
        )
