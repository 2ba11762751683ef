"""Presets: a paper's settings by name, what they cost and what they should score; and the same without a GPU.

One word changes, the code is the same:

=================================  ====================================================================
``mclstexp_her2st``                what the authors' code does with HER2+; a GPU
``mclstexp_her2st_paper``          what their paper says where that differs, and keys without batch-mates
``mclstexp_her2st_cpu``            the same model on frozen, cached features: under a minute a fold
``mclstexp_her2st_cpu_finetuned``  a small image encoder, fine-tuned for a few epochs: minutes a fold
=================================  ====================================================================

Likewise ``mclstexp_cscc`` and ``mclstexp_alex10x``.

=================================  ====================================================================
``nh2st_stnet``                    NH2ST as its README has it; a GPU
``nh2st_stnet_defaults``           as the defaults of its code have it
``nh2st_stnet_clean``              nothing smoothed but training labels, neighbours augmented, stopped by the error
``nh2st_stnet_cpu``                on frozen, cached features, each spot of a batch encoded once
=================================  ====================================================================

Likewise ``nh2st_skin``, ``nh2st_pcw``, ``nh2st_mouse``, ``nh2st_int`` and ``nh2st_zen``. Their folds have the same
names in `data.splits.published_split`. What the authors' code does beside these settings is the evaluation's choice: it
smooths the test's labels too (``Target(..., smooth=True)``) and stops by the test sections
(``Fold(..., select_on_test=True)``); sections from `data.splits.validation_from_training` are the honest judge.

=================================  ====================================================================
``rankbygene_breast``              RankByGene as published, batches compared in parts of 8; a large GPU, and UNI
``rankbygene_breast_whole``        the same with whole batches compared, as the paper has it
``rankbygene_breast_cpu``          the heads on frozen, cached features: a minute a fold
=================================  ====================================================================

Likewise ``rankbygene_lung``. Their labels are ``Target(..., "cp10k_log1p", smooth=True)``, the evaluation's choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stlearn_lib.errors import StlearnError
from stlearn_lib.methods import nh2st, rankbygene
from stlearn_lib.methods.mclstexp import TRAINING, MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.trained import TrainedMethod
from stlearn_lib.training import Compute

Settings = Mapping[str, Any]

SMALL_ENCODER = "mobilenetv2_100"


@dataclass(frozen=True)
class Preset:
    """Settings by name, with all that one wants to know before running them.

    Args:
        method: What is built.
        settings: Its settings.
        gene_list: The published gene list that it predicts, see `datasets.GENE_LISTS`.
        source: Where the settings come from.
        cost: What it takes.
        expected: What it should score, and in which evaluation.
    """

    method: type[TrainedMethod]
    settings: Settings
    gene_list: str
    source: str
    cost: str
    expected: str

    def create(
        self,
        *,
        compute: Compute | None = None,
        folder: Path | str | None = None,
        seed: int | None = None,
        changes: Settings | None = None,
    ) -> TrainedMethod:
        """Make the unfitted method, without a target.

        Args:
            compute: Devices and precision; a single device if None.
            folder: Where training keeps checkpoints and history; nowhere if None.
            seed: Of the training; the preset's own if None.
            changes: Settings that take the place of the preset's; of ``training``, fields.

        Returns:
            The method.

        Raises:
            StlearnError: If a changed setting is out of its range.
            TypeError: If there is no such setting.
        """
        settings = {**self.settings, **(changes or {})}
        method = self.method(**self.settings)
        fields = dict((changes or {}).get("training", {})) | ({} if seed is None else {"seed": seed})
        settings["training"] = replace(method.options.training, **fields)
        return self.method(compute=compute, folder=folder, **settings)


# ------------------------------------------------------------------------------------------------------------ mclSTExp

_HER2ST: Settings = {"k": 200, "distance": "l1"}
_CSCC: Settings = {"k": 600, "distance": "l2"}
_ALEX10X: Settings = {
    "k": 200,
    "distance": "l2",
    "std": (1 / 255,) * 3,  # raw values, 0 to 255
    "augmentation": "right_angles",
    "augment_test": True,
    "training": replace(TRAINING, epochs=15),
}

_CODE = "the code, shizhiceng/mclSTExp @ fdd3ab1"
_PAPER = "the paper, arXiv 2407.08216, where it differs from the code; keys without batch-mates are our correction"
_OURS = "as {}, but for the image encoder and the epochs, which are ours"
_GPU = "a GPU; not run by us so far. A step of 128 patches takes DenseNet-121 about 1.1 T multiply-adds"
_NH2ST_GPU = "a GPU; not run by us so far. A step of 8 spots encodes 80 patches with ResNet-18"
_MINUTE = "two cores: features once, half a minute a section; then less than a minute a fold of four sections"
_MINUTES = "one core: 10 minutes a fold of four sections, 4 GB of memory"
_PUBLISHED = "published, {} sections left out one by one, gene-wise space: ACG {}, HEG {}, MSE {}, MAE {}"
_UNKNOWN = "not measured: the images could not be had"
_FROZEN_SCORES = (
    "spot-wise space: one of C2-C6 left out, mean ACG .197 and HEG .285; trained on C2-C6, B4 ACG .247 and HEG .149"
)
_FINETUNED_SCORES = "spot-wise space: trained on C2 and C4-C6, C3 ACG .141 and HEG .122"


def _as_in_paper(settings: Settings, k: int) -> Settings:
    training = replace(settings.get("training", TRAINING), optimizer="adamw")
    changes = {"variant": "paper", "k": k, "distance": "l2", "keys": "spot", "training": training}
    return {**settings, **changes}


def _frozen(settings: Settings) -> Settings:
    features = (f"deep:{SMALL_ENCODER}", "colour_texture")
    return {**settings, "features": features, "augment_test": False, "training": replace(TRAINING, epochs=40)}


def _finetuned(settings: Settings) -> Settings:
    """The small encoder; a quarter of the batch, so that 4 GB of memory are enough."""
    training = replace(TRAINING, epochs=8, batch_size=32)
    own = {"encoder": SMALL_ENCODER, "mean": None, "std": None, "training": training}
    return {**settings, **own, "augment_test": False}


_HER2ST_SCORES = _PUBLISHED.format(32, ".230", ".387", ".590", ".581")
_CSCC_SCORES = _PUBLISHED.format(12, ".324", ".426", ".430", ".521")
_ALEX10X_SCORES = _PUBLISHED.format(9, ".195", ".361", ".233", ".390")

PRESETS: dict[str, Preset] = {
    "mclstexp_her2st": Preset(MclSTExp, _HER2ST, "mclstexp_her2st", _CODE, _GPU, _HER2ST_SCORES),
    "mclstexp_her2st_paper": Preset(
        MclSTExp, _as_in_paper(_HER2ST, k=200), "mclstexp_her2st", _PAPER, _GPU, _HER2ST_SCORES
    ),
    "mclstexp_her2st_cpu": Preset(
        MclSTExp, _frozen(_HER2ST), "mclstexp_her2st", _OURS.format("mclstexp_her2st"), _MINUTE, _FROZEN_SCORES
    ),
    "mclstexp_her2st_cpu_finetuned": Preset(
        MclSTExp, _finetuned(_HER2ST), "mclstexp_her2st", _OURS.format("mclstexp_her2st"), _MINUTES, _FINETUNED_SCORES
    ),
    "mclstexp_cscc": Preset(MclSTExp, _CSCC, "mclstexp_cscc", _CODE, _GPU, _CSCC_SCORES),
    "mclstexp_cscc_paper": Preset(MclSTExp, _as_in_paper(_CSCC, k=200), "mclstexp_cscc", _PAPER, _GPU, _CSCC_SCORES),
    "mclstexp_cscc_cpu": Preset(
        MclSTExp, _frozen(_CSCC), "mclstexp_cscc", _OURS.format("mclstexp_cscc"), _MINUTE, _UNKNOWN
    ),
    "mclstexp_cscc_cpu_finetuned": Preset(
        MclSTExp, _finetuned(_CSCC), "mclstexp_cscc", _OURS.format("mclstexp_cscc"), _MINUTES, _UNKNOWN
    ),
    "mclstexp_alex10x": Preset(MclSTExp, _ALEX10X, "mclstexp_alex10x", _CODE, _GPU, _ALEX10X_SCORES),
    "mclstexp_alex10x_paper": Preset(
        MclSTExp,
        _as_in_paper({**_ALEX10X, "std": (1.0, 1.0, 1.0), "augmentation": "jitter", "augment_test": False}, k=2400),
        "mclstexp_alex10x",
        _PAPER,
        _GPU,
        _ALEX10X_SCORES,
    ),
    "mclstexp_alex10x_cpu": Preset(
        MclSTExp, _frozen(_ALEX10X), "mclstexp_alex10x", _OURS.format("mclstexp_alex10x"), _MINUTE, _UNKNOWN
    ),
    "mclstexp_alex10x_cpu_finetuned": Preset(
        MclSTExp, _finetuned(_ALEX10X), "mclstexp_alex10x", _OURS.format("mclstexp_alex10x"), _MINUTES, _UNKNOWN
    ),
}
"""Each published setting, and what becomes of it on a machine without a GPU."""

# --------------------------------------------------------------------------------------------------------------- NH2ST

_README: Settings = {}  # the defaults of `NH2STSettings`
_DEFAULTS: Settings = {
    "depth": 2,
    "mlp_ratio": 2.0,
    "dropout": 0.1,
    "training": replace(nh2st.TRAINING, learning_rate=1e-4),
}
_CLEAN: Settings = {"smooth_training": True, "batches": "adjacent", "sharing": True, "stop_by": "error"}
_NH2ST_CPU: Settings = {
    "features": (f"deep:{SMALL_ENCODER}", "colour_texture"),
    "batches": "adjacent",
    "sharing": True,
    "stop_by": "error",
    "training": replace(nh2st.TRAINING, epochs=20, batch_size=64, patience=None),
}
_NH2ST_MSE = {"stnet": ".161", "skin": ".208", "pcw": ".029", "mouse": ".039", "int": ".22", "zen": ".108"}
_NH2ST_CLEAN = "ours: the README's settings without its test smoothing and selection; spots encoded once, all augmented"
_NH2ST_CLEAN_GPU = "a GPU; not run by us so far. A step of 8 adjacent spots encodes about 30 patches with ResNet-18"
_ON_HER2ST = "on HER2+ and its genes, spot-wise space: trained on C2 and C4-C6, C3 {}; trained on C2-C6, B4 {}"
_NH2ST_CPU_SCORES = _ON_HER2ST.format("ACG .198 and HEG .235", "ACG .251 and HEG .116")
_NH2ST_CODE = "MCPathology/NH2ST @ e385a1c, {}; ImageNet weights unless encoder_weights names those of Ciga et al."

for _data, _mse in _NH2ST_MSE.items():
    _published = f"published on its smoothed labels, by a leaderboard: MSE {_mse}; epochs chosen on the test fold"
    _genes = f"nh2st_{_data}"
    PRESETS |= {
        _genes: Preset(NH2ST, _README, _genes, _NH2ST_CODE.format("its README"), _NH2ST_GPU, _published),
        f"{_genes}_defaults": Preset(
            NH2ST, _DEFAULTS, _genes, _NH2ST_CODE.format("the defaults of its code"), _NH2ST_GPU, _published
        ),
        f"{_genes}_clean": Preset(NH2ST, _CLEAN, _genes, _NH2ST_CLEAN, _NH2ST_CLEAN_GPU, _UNKNOWN),
        f"{_genes}_cpu": Preset(NH2ST, _NH2ST_CPU, _genes, _OURS.format(_genes), _MINUTE, _NH2ST_CPU_SCORES),
    }

# ---------------------------------------------------------------------------------------------------------- RankByGene

_UNI: Settings = {
    "encoder": "hf-hub:MahmoodLab/UNI",
    "encoder_kwargs": {"init_values": 1e-5, "dynamic_img_size": True},
}
_RANKBYGENE: dict[str, Settings] = {
    "breast": {**_UNI, "rank_weight": 5.0, "training": replace(rankbygene.TRAINING, accumulate=4)},
    "lung": {**_UNI, "rank_weight": 10.0, "training": replace(rankbygene.TRAINING, batch_size=64, accumulate=8)},
}
_RANKBYGENE_CPU: Settings = {
    "features": (f"deep:{SMALL_ENCODER}", "colour_texture"),
    "encoder": SMALL_ENCODER,
    "encoder_kwargs": {},
    "predict_from": "embedding",
}
_RANKBYGENE_CODE = "the code, winston52/RankByGene @ 96a1549; UNI's weights are behind a licence"
_RANKBYGENE_PAPER = "the paper, arXiv 2411.15076: its losses have no parts of a batch"
_RANKBYGENE_GPU = "a GPU of 80 GB; not run by us so far. A step of 32 patches takes two ViT-L"
_RANKBYGENE_CPU_SCORES = _ON_HER2ST.format("ACG .189 and HEG .179", "ACG .268 and HEG .205")
_RANKBYGENE_MAE = {"breast": "all genes, Breast-ST1 .472, Breast-ST2 .447", "lung": "all genes, Lung-ST .648"}

for _data, _settings in _RANKBYGENE.items():
    _genes = f"rankbygene_{_data}"
    _published = f"published, by a leaderboard, on slides that it does not list: MAE, {_RANKBYGENE_MAE[_data]}"
    _whole = replace(_settings["training"], compare="batch")
    _frozen_training = replace(_settings["training"], epochs=30, accumulate=1)
    PRESETS |= {
        _genes: Preset(RankByGene, _settings, _genes, _RANKBYGENE_CODE, _RANKBYGENE_GPU, _published),
        f"{_genes}_whole": Preset(
            RankByGene, {**_settings, "training": _whole}, _genes, _RANKBYGENE_PAPER, _RANKBYGENE_GPU, _published
        ),
        f"{_genes}_cpu": Preset(
            RankByGene,
            {**_settings, **_RANKBYGENE_CPU, "training": _frozen_training},
            _genes,
            _OURS.format(_genes),
            _MINUTE,
            _RANKBYGENE_CPU_SCORES,
        ),
    }


def preset_here(name: str) -> str:
    """Name a published preset where there is a GPU, and its small version elsewhere.

    Args:
        name: A preset with a small version, e.g. ``"mclstexp_her2st"``.

    Returns:
        The name itself, or the name with ``_cpu`` behind it.

    Raises:
        StlearnError: If there is no such preset, or no small version of it.

    Example:
        >>> preset_here("nh2st_stnet").removesuffix("_cpu")
        'nh2st_stnet'
    """
    small = f"{name}_cpu"
    if small not in PRESETS:
        offered = ", ".join(preset.removesuffix("_cpu") for preset in PRESETS if preset.endswith("_cpu"))
        raise StlearnError(f"no small version of a preset {name!r}: choose one of {offered}.")
    return name if torch.cuda.is_available() else small
