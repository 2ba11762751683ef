"""What methods share that train a network: settings, devices, a folder for runs, a history, how patches are seen."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor, nn

from stlearn_lib.data.expression import Target
from stlearn_lib.data.patches import PATCH_PX, cut_patches
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.features import FeatureInputs
from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

Model = TypeVar("Model", bound=nn.Module)

_PREFIX = "model."
_READ_AT_ONCE = 32  # patches that are predicted at a time; more would not be faster


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """What can be chosen about every method that trains a network.

    Args:
        encoder: The image encoder that is trained, see `models.encoders.create_encoder`.
        encoder_weights: What it starts from; the weights of frozen features, too.
        encoder_kwargs: Handed to ``timm.create_model``.
        features: Frozen features in place of an encoder, see `methods.features.FeatureInputs`.
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.
        training: Epochs, batch, learning rate and so on, see `training.TrainingSettings`.

    Raises:
        StlearnError: If a choice is unknown.
    """

    CHOICES: ClassVar[Mapping[str, Sequence[str | None]]] = {}
    """The values that a setting may have, where they can be listed."""

    encoder: str
    encoder_weights: str | None = "auto"
    encoder_kwargs: Mapping[str, Any] = field(default_factory=dict)
    features: Sequence[str] = ()
    mean: Channels | None = None
    std: Channels | None = None
    training: TrainingSettings

    def __post_init__(self) -> None:
        for name, values in self.CHOICES.items():
            if getattr(self, name) not in values:
                raise StlearnError(f"{name} must be one of {', '.join(map(str, values))}, not {getattr(self, name)!r}.")
        if isinstance(self.training, Mapping):  # from a JSON file
            object.__setattr__(self, "training", TrainingSettings(**self.training))

    def plain(self) -> dict[str, Any]:
        """Return the settings as a JSON file has them: lists in the place of tuples."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


class TrainedMethod(Method):
    """A method that trains a network.

    A subclass says what can be chosen (`Settings`) and how its model is built on an encoder (`_build`). With
    ``features`` the image encoder is frozen: patches are seen through features that are computed once and cached. Ours,
    for machines without a GPU.

    Args:
        compute: Devices and precision; a single device if None.
        folder: Where training keeps checkpoints and history, in a folder for each set of training spots; nowhere if
            None. A run that was stopped goes on from there.
        progress: Whether to show a bar while training, on a terminal.
        target: Genes and expression space to predict.
        **settings: The fields of the method's settings.

    Raises:
        StlearnError: If a choice is unknown.
    """

    Settings: ClassVar[type[NetworkSettings]]
    title: ClassVar[str]
    """The published name."""

    def __init__(
        self,
        *,
        compute: Compute | None = None,
        folder: Path | str | None = None,
        progress: bool = True,
        target: Target | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(target)
        self.compute, self.folder, self.progress = compute or Compute(), folder, progress
        self.options: Any = self.Settings(**settings)
        features, weights = self.options.features, self.options.encoder_weights
        self._inputs = FeatureInputs(features, encoder_weights=weights) if features else None
        self._model: Any = None

    @property
    def name(self) -> str:
        """The method's name in tables."""
        features = self.options.features
        seen_by = f"frozen {' + '.join(features)}" if features else self.options.encoder
        return f"{self.title} ({seen_by})"

    @property
    def seed(self) -> int:
        """What initial weights, order of spots and augmentation are drawn from."""
        seed: int = self.options.training.seed
        return seed

    @property
    def weights_id(self) -> str:
        """Which weights the image encoder started from."""
        weights: str = self.learnt.get("weights", "not fitted")
        return weights

    @property
    def history(self) -> pd.DataFrame:
        """The training's history, see `training.fit`; empty if nothing was trained."""
        return pd.DataFrame(self.learnt.get("history", []))

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return self.options.plain()

    @abstractmethod
    def _build(self, encoder: Encoder | int) -> nn.Module:
        """Make the model on an encoder, or on features of a width."""

    def _images(self, section: AnnData, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Patches (N, H, W, 3) uint8, or frozen features (N, n_features) float32."""
        return self._inputs(section, state).astype(np.float32) if self._inputs else cut_patches(section, PATCH_PX)

    def _new_model(self, spots: SpotTable) -> Any:
        """Make the model for the first time, with weights of its seed; remember what makes it again."""
        encoder: Encoder | int
        if self._inputs:
            encoder = spots.columns["image"][0].shape[1]
            self.learnt |= {"encoder": encoder, "weights": self._inputs.weights_id}
        else:
            o = self.options
            encoder = create_encoder(
                o.encoder, o.encoder_weights, seed=self.seed, mean=o.mean, std=o.std, **o.encoder_kwargs
            )
            self.learnt |= {"encoder": encoder.settings, "weights": encoder.weights_id}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self._model = self._build(encoder)
        return self._model

    def _fitted_model(self) -> Any:
        """The model, in evaluation mode; made again, on a GPU where there is one, if the method was loaded."""
        if self._model is None:
            settings = self.learnt["encoder"]
            encoder = settings if isinstance(settings, int) else create_encoder(weights=None, **settings)
            self._model = restore_model(self._build(encoder), self.state).to(self.compute.fabric().device)
        return self._model.eval()

    def _set_learnt(self, state: dict[str, np.ndarray], learnt: dict[str, Any], trained_on: Iterable[str]) -> None:
        super()._set_learnt(state, learnt, trained_on)
        self._fitted_model()  # now, so that weights that do not fit are the folder's error

    def _train(
        self, task: Task, spots: SpotTable, validation: SpotTable | None, settings: TrainingSettings | None = None
    ) -> list[dict[Any, Any]]:
        """Train, in a folder of the spots' own, and return the history; as the options say unless `settings` do."""
        folder = None if self.folder is None else Path(self.folder) / spots.fingerprint()
        history = fit(
            task,
            spots,
            settings or self.options.training,
            validation=validation,
            compute=self.compute,
            folder=folder,
            progress=self.progress,
        )
        return history.to_dict("records")

    @torch.inference_mode()
    def _see(self, images: np.ndarray, look: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply a model's `look` at images (B, 3, H, W), or at features, to what `_images` returned, (N, ...)."""
        device = next(self._fitted_model().parameters()).device
        spots = SpotTable({"image": [images]})
        batches = np.split(np.arange(len(spots)), np.arange(_READ_AT_ONCE, len(spots), _READ_AT_ONCE))
        seen = [look(channels_first(spots.rows(rows)["image"].to(device))).cpu().numpy() for rows in batches]
        return np.concatenate(seen)


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
