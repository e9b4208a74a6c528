"""The one exception a user may see: its message is a single plain sentence."""

USER_ERROR = 2  # exit status of a process that ends by the following


class SeedsweepError(Exception):
    """Something the user can fix: says what is wrong, where, and what to do, in one sentence.

    The command line prints the message alone and exits with status 2; a grid writes it into the
    table beside the job that failed. Raise it for bad input, never for a defect of our own.

    Example:
        >>> import seedsweep as ss
        >>> try:
        ...     ss.compose("optim.lr=-1")
        ... except ss.SeedsweepError as error:
        ...     print(error)
        optim.lr is -1.0, but must be greater than 0.
    """


class RefusedError(SeedsweepError):
    """A call whose settings don't fit what is there, raised before anything was changed."""


class DamagedError(SeedsweepError):
    """A file of our own that can't be used as it is; the message names it and what can be used instead."""


class ChangedError(SeedsweepError):
    """An image was removed or changed while a call went on: whatever else reads it would fail as well."""


class DiskError(SeedsweepError):
    """A disk is full or can't be written: nothing that comes after can do better."""


class GridEnd(BaseException):
    """Ends a grid for a reason that holds for all its jobs; Hydra goes on after an Exception of one."""


OF_ALL = (RefusedError, ChangedError, DiskError)  # hold for all trials of a study: none of them is to blame


class DivergedError(SeedsweepError):
    """A training whose loss or logits became NaN or infinite. The command line exits with status 1.

    Args:
        epoch: in which that was seen, from 0.
        what: was seen: ``the training loss became NaN``.
        further: the rest of the sentence.
    """

    def __init__(self, epoch: int, what: str, further: str = "") -> None:
        super().__init__(epoch, what, further)
        self.epoch, self.what, self.further = epoch, what, further

    def __str__(self) -> str:
        """Says in which epoch, and what was seen."""
        return f"diverged at epoch {self.epoch + 1}: {self.what}{self.further}"
