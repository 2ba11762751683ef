"""What methods share that train a network: devices, a folder for their runs, a history, weights as arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stlearn_lib.data.expression import Target
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.methods.base import Method
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

Model = TypeVar("Model", bound=nn.Module)

_PREFIX = "model."


class TrainedMethod(Method):
    """A method that trains a network.

    Args:
        compute: Devices and precision; a single device if None.
        folder: Where training keeps checkpoints and history, in a folder for each set of training spots; nowhere if
            None. A run that was stopped goes on from there.
        progress: Whether to show a bar while training, on a terminal.
        target: Genes and expression space to predict.
    """

    def __init__(
        self,
        *,
        compute: Compute | None = None,
        folder: Path | str | None = None,
        progress: bool = True,
        target: Target | None = None,
    ) -> None:
        super().__init__(target)
        self.compute, self.folder, self.progress = compute or Compute(), folder, progress

    @property
    def weights_id(self) -> str:
        """Which weights the image encoder started from."""
        weights: str = self.learnt.get("weights", "not fitted")
        return weights

    @property
    def history(self) -> pd.DataFrame:
        """The training's history, see `training.fit`; empty if nothing was trained."""
        return pd.DataFrame(self.learnt.get("history", []))

    def _train(self, task: Task, spots: SpotTable, settings: TrainingSettings, validation: SpotTable | None) -> None:
        folder = None if self.folder is None else Path(self.folder) / spots.fingerprint()
        history = fit(
            task,
            spots,
            settings,
            validation=validation,
            compute=self.compute,
            folder=folder,
            progress=self.progress,
        )
        self.learnt["history"] = history.to_dict("records")


def model_state(model: nn.Module) -> dict[str, np.ndarray]:
    """Return a model's weights as arrays, under names that a method's other arrays do not have."""
    return {_PREFIX + name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}


def restore_model(model: Model, state: Mapping[str, np.ndarray]) -> Model:
    """Give a model the weights that `model_state` returned."""
    own = {name.removeprefix(_PREFIX): array for name, array in state.items() if name.startswith(_PREFIX)}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return model


def channels_first(images: Tensor) -> Tensor:
    """Return patches as a model takes them, (B, 3, H, W), in the memory layout (B, H, W, 3) they came in.

    Features that were computed before, (B, n_features), stay as they are.
    """
    return images.permute(0, 3, 1, 2) if images.ndim == 4 else images


def channels_last_in_memory(images: Tensor) -> Tensor:
    """Bring augmented images back to the memory layout of patches, on which encoders are a fifth faster."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
