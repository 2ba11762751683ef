"""Encoders: any timm backbone as a map from images to features, with weights that are never silently random.

What goes in is always the image itself, uint8 or float in 0..1: the mean and standard deviation that belong to the
weights are applied inside. Where the weights came from is kept in ``weights_id``, to be recorded with every result.

Reference:
    Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
"""

import contextlib
import hashlib
import pickle
import urllib.error
import urllib.request
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import safetensors.torch
import timm
import torch
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from stlearn_lib.cache import written_whole
from stlearn_lib.errors import ImageError, WeightsError

Channels = tuple[float, float, float]

_HUB_PREFIX = "hf-hub:"
_HUB_TIMEOUT_S = 5


@dataclass(frozen=True)
class _Registered:
    """Weights in the registry's data set ``weights``, and the settings that they need; their batch norms are folded."""

    file: str
    label: str
    mean: Channels
    std: Channels
    timm_kwargs: dict[str, Any]


_REGISTERED = {
    # A strict load does not notice if pad_type="same" is missing; mean and std are not what timm has for this name.
    "mobilenetv2_100": _Registered(
        file="mobilenetv2_100_imagenet.safetensors",
        label="mobilenetv2_100 google-coral ptq",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        timm_kwargs={"pad_type": "same"},
    )
}


class Encoder(nn.Module):
    r"""A timm backbone without its classifier, from images to features; made by `create_encoder`.

    .. math:: f = \mathrm{backbone}((x - \mathrm{mean}) / \mathrm{std}), \quad x \in [0, 1]

    Attributes:
        backbone: The timm model; ``backbone.forward_features(encoder.normalise(images))`` is its map before pooling.
        name: timm's name of the backbone.
        weights_id: Where the weights came from.
        n_features: D, the width of the features.
        input_px: Side of the images that the backbone was made for, in pixels; convolutional ones take others, too.
        mean: Per channel, subtracted from images in 0..1.
        std: Per channel, by which they are then divided.
        frozen_batch_norms: Whether batch norms stay in evaluation mode, whatever `train` says.
        settings: Arguments that make the same encoder again, to be saved (as JSON) beside its weights:
            ``create_encoder(weights=None, **encoder.settings)``, then ``load_state_dict``.

    Example:
        >>> encoder = create_encoder("resnet18", weights=None)
        >>> encoder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape
        torch.Size([2, 512])
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, backbone: Any, settings: dict[str, Any], weights_id: str, input_px: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.settings = settings
        self.name: str = settings["name"]
        self.mean: Channels = settings["mean"]
        self.std: Channels = settings["std"]
        self.frozen_batch_norms: bool = settings["freeze_batch_norms"]
        self.weights_id = weights_id
        self.input_px = input_px
        self.n_features: int = backbone.head_hidden_size
        self.register_buffer("_mean", torch.tensor(self.mean, dtype=torch.float32).reshape(3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(self.std, dtype=torch.float32).reshape(3, 1, 1), persistent=False)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features.

        Args:
            images: RGB, (B, 3, H, W), uint8 or float in 0..1.

        Returns:
            Features, (B, D).

        Raises:
            ImageError: If the images are not of that shape, type or range.
        """
        return self.backbone(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """Check images, bring uint8 to 0..1, subtract the mean and divide by the standard deviation.

        Args:
            images: RGB, (B, 3, H, W), uint8 or float in 0..1.

        Returns:
            What the backbone takes, (B, 3, H, W).

        Raises:
            ImageError: If the images are not of that shape, type or range.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"an encoder takes images of shape (B, 3, H, W), not {tuple(images.shape)}.")
        if images.dtype == torch.uint8:
            images = images.to(self._mean.dtype) / 255
        elif not images.is_floating_point():
            raise ImageError(f"an encoder takes images as uint8, or as float in 0..1, not {images.dtype}.")
        elif images.numel() and (images.min() < -1e-3 or images.max() > 1 + 1e-3):  # beyond what rounding does
            found = f"{images.min():.3g} to {images.max():.3g}"
            raise ImageError(f"float images lie in 0..1, not {found}; the encoder normalises them itself.")
        return (images - self._mean) / self._std

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode, except for frozen batch norms."""
        super().train(mode)
        if self.frozen_batch_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def fingerprint(self) -> str:
        """Hash what the features depend on: architecture, normalisation and the bytes of the weights."""
        digest = hashlib.blake2b(f"{self.settings} {self.backbone}".encode(), digest_size=12)
        for key, tensor in self.backbone.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def create_encoder(
    name: str,
    weights: str | Path | None = "auto",
    *,
    seed: int = 0,
    mean: Channels | None = None,
    std: Channels | None = None,
    freeze_batch_norms: bool = False,
    **timm_kwargs: Any,
) -> Encoder:
    """Create an encoder from any timm backbone.

    The registered weights (so far for ``mobilenetv2_100``) have their batch norms folded into the convolutions. The
    statistics of a batch would undo that, so ``freeze_batch_norms`` is then always on.

    Args:
        name: timm's name (``"densenet121"``, ``"resnet18"``, ``"vit_large_patch16_224"``), or ``"hf-hub:owner/model"``.
        weights: ``"auto"`` is the registered local file if there is one for `name`, else the model hub, else an error.
            A path is a ``.safetensors`` file, or a ``.pth`` that holds tensors alone; the classifier is left out, all
            other keys have to fit. None is random, and recorded as such.
        seed: Of the random weights; the global generator stays as it was.
        mean: Per channel, of images in 0..1; what the weights were trained with if None.
        std: As `mean`. ``mean=(0, 0, 0), std=(1, 1, 1)`` is no normalisation, ``std=(1/255,) * 3`` raw values 0..255.
        freeze_batch_norms: Whether to keep batch norms in evaluation mode while training.
        **timm_kwargs: Handed to ``timm.create_model``, for example ``img_size=`` of a vision transformer.

    Returns:
        The encoder, in training mode.

    Raises:
        WeightsError: If the weights cannot be had or do not fit; it says what was tried and what to pass.
        ValueError: If timm has no such backbone.

    Example:
        >>> encoder = create_encoder("densenet121", weights=None)
        >>> encoder.n_features, encoder.weights_id
        (1024, 'random(seed=0)')
    """
    if "checkpoint_path" in timm_kwargs:  # timm would load it unseen, and some versions run what a pickle says
        raise WeightsError("a checkpoint is read through weights=, not through timm's checkpoint_path.")
    if not name.startswith(_HUB_PREFIX) and not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(f"timm has no backbone {name!r}; close to it are {close}. See timm.list_models().")

    if weights == "auto" and (file := _registered_file(name)):
        registered = _REGISTERED[name]
        mean, std, freeze_batch_norms = mean or registered.mean, std or registered.std, True
        timm_kwargs = dict(**timm_kwargs, **registered.timm_kwargs)  # a TypeError if both give the same one
        backbone = _build(name, seed, timm_kwargs)
        weights_id = f"{registered.label} {_load(backbone, file)}"
    elif weights == "auto":
        backbone = _build(name, seed, timm_kwargs, pretrained=True)
        weights_id = backbone.pretrained_cfg["hf_hub_id"] or backbone.pretrained_cfg["url"]
    elif weights is None:
        backbone = _build(name, seed, timm_kwargs)
        weights_id = f"random(seed={seed})"
    else:
        backbone = _build(name, seed, timm_kwargs)
        weights_id = f"file:{Path(weights).name} {_load(backbone, Path(weights))}"

    config = backbone.pretrained_cfg
    settings = {
        "name": name,
        "mean": tuple(mean or config["mean"]),
        "std": tuple(std or config["std"]),
        "freeze_batch_norms": freeze_batch_norms,
        **timm_kwargs,
    }
    return Encoder(backbone, settings, weights_id, timm_kwargs.get("img_size", config["input_size"][-1]))


def extract_features(
    patches: np.ndarray,
    encoder: Encoder,
    *,
    batch_size: int = 8,
    cache: Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Compute the features of all patches, in evaluation mode and on the device where the encoder is.

    With `cache`, features are kept and found again by a hash of the patches' bytes and of all that the encoder computes
    with: other patches, or other weights, never meet old features.

    Args:
        patches: RGB, (N, H, W, 3) uint8; may be a read-only memory map.
        encoder: What maps them; left in the mode in which it came.
        batch_size: B, patches at a time. On a CPU 8 take a quarter of the time of 64, since they fit its caches.
        cache: Folder for the features, for example ``stlearn_lib.cache.cache_folder("features")``. Not kept if None.
        progress: Whether to show a bar.

    Returns:
        Features, (N, D) float32.

    Raises:
        ImageError: If the patches are not of that shape and type, or there are none.
        WriteError: If the cache cannot be written.

    Example:
        >>> patches = np.zeros((3, 32, 32, 3), dtype=np.uint8)
        >>> extract_features(patches, create_encoder("resnet18", weights=None), progress=False).shape
        (3, 512)
    """
    if patches.ndim != 4 or patches.shape[-1] != 3 or patches.dtype != np.uint8 or not patches.size:
        raise ImageError(f"patches are (N, H, W, 3) uint8 with N > 0, not {patches.shape} {patches.dtype}.")
    if cache is None:
        return _features(patches, encoder, batch_size, progress)
    path = Path(cache) / f"{_patches_fingerprint(patches)}-{encoder.fingerprint()}.npy"
    if not path.is_file():
        with written_whole(path) as temporary:
            np.save(temporary, _features(patches, encoder, batch_size, progress))
    return np.load(path)


def _features(patches: np.ndarray, encoder: Encoder, batch_size: int, progress: bool) -> np.ndarray:
    modes = [(module, module.training) for module in encoder.modules()]
    device = next(encoder.parameters()).device
    features = np.empty((len(patches), encoder.n_features), dtype=np.float32)
    # Patches have their channels last; a backbone with the same layout is about twice as fast on a CPU.
    encoder.eval().to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            starts = range(0, len(patches), batch_size)
            for start in tqdm(starts, desc=encoder.name, unit="batch", disable=not progress):
                batch = torch.from_numpy(np.array(patches[start : start + batch_size])).to(device)
                features[start : start + len(batch)] = encoder(batch.permute(0, 3, 1, 2)).float().cpu().numpy()
    finally:
        encoder.to(memory_format=torch.contiguous_format)  # the only one that safetensors saves
        for module, training in modes:
            module.training = training
    return features


def _patches_fingerprint(patches: np.ndarray) -> str:
    digest = hashlib.blake2b(str(patches.shape).encode(), digest_size=12)
    for start in range(0, len(patches), 64):  # a memory map need not fit into memory
        digest.update(np.ascontiguousarray(patches[start : start + 64]).data)
    return digest.hexdigest()


def _registered_file(name: str) -> Path | None:
    """Get the registered file of a backbone, or None if there is none at hand."""
    if name not in _REGISTERED:
        return None
    import data_registry  # only here: other weights do without the registry

    file = _REGISTERED[name].file
    try:
        return data_registry.fetch("weights", file)[file]
    except data_registry.AccessError:
        return None
    except data_registry.DataError as error:  # it is there and it is wrong: other weights would hide that
        raise WeightsError(f"the registered weights of {name} cannot be used: {error}") from error


def _build(name: str, seed: int, timm_kwargs: dict[str, Any], *, pretrained: bool = False) -> Any:
    """Build a backbone without its classifier; with `pretrained`, load its weights from the model hub."""
    if not pretrained and not name.startswith(_HUB_PREFIX):  # with the prefix, even the architecture is on the hub
        return _timm_model(name, seed, timm_kwargs, pretrained)
    try:
        _reach_hub(name)
        return _timm_model(name, seed, timm_kwargs, pretrained)
    except (OSError, HTTPError, RuntimeError) as error:
        tried = f"the model hub: {' '.join(str(error).split()).rstrip('.')}"
        if name in _REGISTERED:
            tried = f"weights/{_REGISTERED[name].file}, not in STLEARN_DATA_MIRROR nor in the cache; {tried}"
        raise WeightsError(
            f"no pretrained weights for {name}. Tried: {tried}. Do one of these: connect to the network, or fill the "
            "hub's cache (HF_HOME); pass weights= the path of a .safetensors or .pth checkpoint; take a backbone with "
            f"registered weights ({', '.join(_REGISTERED)}), with STLEARN_DATA_MIRROR set to a folder that has them; "
            "pass weights=None for random weights, which every result will record."
        ) from error


def _timm_model(name: str, seed: int, timm_kwargs: dict[str, Any], pretrained: bool) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs, too
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **timm_kwargs)


def _reach_hub(name: str) -> None:
    """Raise OSError if the hub neither left the model in its cache nor answers; its own client would retry for long."""
    if name.startswith(_HUB_PREFIX):
        hub_id = name.removeprefix(_HUB_PREFIX)
    elif (config := timm.get_pretrained_cfg(name)) and config.hf_hub_id:
        hub_id = config.hf_hub_id
    else:
        return  # timm has another address, or none
    with contextlib.suppress(LocalEntryNotFoundError):
        huggingface_hub.snapshot_download(hub_id.partition("@")[0], local_files_only=True)
        return
    if HF_HUB_OFFLINE:
        raise OSError(f"{hub_id} is not in its cache, and HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(ENDPOINT, timeout=_HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError as error:
        raise OSError(f"{hub_id} is not in its cache, and {ENDPOINT} does not answer ({error})") from error


def _load(backbone: Any, path: Path) -> str:
    """Load a checkpoint without its classifier, every other key strictly; return the file's hash."""
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if path.suffix == ".safetensors":
            checkpoint = safetensors.torch.load_file(path)
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"weights {str(path)!r} cannot be read: {error}. Pass 'auto', a path or None.") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(
            f"{path} is neither a .safetensors file nor a .pth file that holds tensors alone. Nothing else is opened: "
            "opening it could run what it holds."
        ) from error

    classifier = backbone.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{module}." for module in ([classifier] if isinstance(classifier, str) else classifier))
    tensors = checkpoint if isinstance(checkpoint, dict) else {}
    found = {key: value for key, value in tensors.items() if not str(key).startswith(prefixes)}
    expected = backbone.state_dict()
    faults = {
        # Older checkpoints lack this counter; load_state_dict fills it in.
        "missing": [key for key in expected if key not in found and not key.endswith("num_batches_tracked")],
        "unknown": [key for key in found if key not in expected],
        "of another shape": [
            key for key in found if key in expected and getattr(found[key], "shape", None) != expected[key].shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:3])}" for what, keys in faults.items() if keys)
        raise WeightsError(f"{path} does not fit the backbone. Keys ({listed})")
    backbone.load_state_dict(found)
    return f"sha256:{sha256[:12]}"
