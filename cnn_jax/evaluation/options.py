"""The flags that say what a run is evaluated on."""

from dataclasses import dataclass, field, replace
from typing import Literal

from cnn_jax.config import CsvConfig, DataConfig
from cnn_jax.errors import ConfigError


@dataclass(frozen=True)
class DataOptions:
    """Other images than the ones of the run."""

    dataset: str | None = None
    """As --data.dataset of `train`; None is the run's own data set and its recorded splits."""
    classes: tuple[str, ...] | None = None
    """The classes of the data set to use, others are left out; None is all of them."""
    batch_size: int | None = None
    """Images in a step; None is the run's `data.eval_batch_size`. The results do not depend on it."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do about image files that cannot be read: stop and name the first, or find all first and go on."""
    csv: CsvConfig = field(default_factory=CsvConfig)

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"data.batch_size={self.batch_size} is not possible: it must be at least 1")

    def chosen(self, config: DataConfig) -> DataConfig:
        """The configuration with the data set that is asked for; a table is read as that of the run where it can be."""
        if self.dataset is None:
            return config
        csv = replace(config.csv, root=None) if self.csv == CsvConfig() else self.csv
        return replace(config, dataset=self.dataset, classes=self.classes, csv=csv)


OWN_DATA = DataOptions()
"""What the run was validated on."""
