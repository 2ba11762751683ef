"""The experiments by name: one for each row that the papers report of their own method, and ours on the sections here.

Names read as paths. ``mclstexp/...``, ``nh2st/...`` and ``rankbygene/...`` repeat what was published; ``within-C/...``
and ``across-patients/...`` compare all methods on the real sections that everyone can have, and ``gene-wise/...`` does
the former in the space of mclSTExp's released evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from stlearn_lib.data.splits import (
    Fold,
    kfold_sections,
    leave_one_section_out,
    published_split,
)
from stlearn_lib.errors import ReproductionError
from stlearn_lib.protocols import PROTOCOLS

SEEDS = (0, 1, 2)
ONCE = (0,)  # of what draws no random numbers


@dataclass(frozen=True, kw_only=True)
class SectionExperiment:
    """A method's expression of a data set's sections: everything that its score depends on, by name.

    Args:
        name: How it is asked for.
        what: What it is, in one line.
        method: What is fitted, a name in `methods.registry.METHODS`.
        changes: Settings that differ from the method's preset.
        data: The data set, see `prepared`.
        split: Its folds: the name of a protocol or of a published split, ``"sections"`` one by one, or ``"five_folds"``
            of them.
        gene_list: The genes, a name in `datasets.GENE_LISTS`.
        space: The expression space.
        smooth: Whether labels are smoothed, those of the test, too.
        select_on_test: Whether the epoch is chosen on the test sections.
        n_top: Only so many of the genes, those of the highest mean in the training sections.
        seeds: What it is run with.
        note: What a reader of its score has to know.
    """

    name: str
    what: str
    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: str = "her2st"
    split: str
    gene_list: str = "mclstexp_her2st"
    space: str = "spot_log10_10k"
    smooth: bool = False
    select_on_test: bool = False
    n_top: int | None = None
    seeds: tuple[int, ...] = SEEDS
    note: str = ""

    def folds(self, patients: Mapping[str, str]) -> tuple[Fold, ...]:
        """Divide the sections, given by name with their patients.

        Raises:
            SplitError: If they are not those that the split divides.
        """
        if self.split in PROTOCOLS:
            return PROTOCOLS[self.split].folds
        if self.split == "sections":
            return leave_one_section_out(patients, allow_leak=True)
        if self.split == "five_folds":
            return kfold_sections(patients, n_splits=5, seed=0, allow_leak=True)
        return published_split(self.split, patients)


@dataclass(frozen=True, kw_only=True)
class SlideExperiment:
    """Classes or survival of a cohort's patients, five folds of whole patients.

    Args:
        name: How it is asked for.
        what: What it is, in one line.
        data: The data set, see `prepared`.
        table: The cohort's table in the prepared folder; none where the registry has it.
        layout: How the table names slides, see `slides.cohorts.LAYOUTS`; ``"tcga"``, or ``"rna"`` of a table of MCAT.
        label: The column of the classes; without, it is about survival.
        seeds: What it is run with; they divide the patients anew.
        note: What a reader of its score has to know.
    """

    name: str
    what: str
    data: str
    table: str = ""
    layout: str
    label: str = ""
    seeds: tuple[int, ...] = SEEDS
    note: str = ""


Experiment = SectionExperiment | SlideExperiment


def _mclstexp() -> list[Experiment]:
    places = {"her2st": ("HER2+", "her2st"), "cscc": ("cSCC", "cscc"), "alex10x": ("Alex+10x", "alex_10x")}
    splits = {"her2st": "mclstexp_her2st", "cscc": "mclstexp_cscc", "alex10x": "sections"}
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        "": ("the full model", {}),
        "-no-position": ("without the position in the array", {"position": False}),
        "-resnet50": ("with ResNet-50", {"encoder": "resnet50"}),
        "-vit": ("with a ViT; the paper does not say which, ours is ViT-B/16", {"encoder": "vit_base_patch16_224"}),
    }
    experiments: list[Experiment] = []
    for place, (title, data) in places.items():
        own = {"-l2": ("with L2 distances", {"distance": "l2"})} if place == "her2st" else {}
        for part, (what, changes) in (parts | own).items():
            experiments.append(
                SectionExperiment(
                    name=f"mclstexp/{place}{part}",
                    what=f"mclSTExp on {title}, {what}",
                    method=f"mclstexp_{place}",
                    changes=changes,
                    data=data,
                    split=splits[place],
                    gene_list=f"mclstexp_{place}",
                    space="gene_log10_10k",
                    note="patients leak; every gene is scaled over the spots of a section",
                )
            )
    return experiments


def _nh2st() -> list[Experiment]:
    data = {
        "stnet": "stnet",
        "skin": "cscc",
        "pcw": "stimage_1k4m/pcw",
        "mouse": "stimage_1k4m/mouse",
        "int": "hest_1k/int",
        "zen": "hest_1k/zen",
    }
    return [
        SectionExperiment(
            name=f"nh2st/{place}",
            what=f"NH2ST on {place.upper() if len(place) == 3 else place.capitalize()}, as released",
            method=f"nh2st_{place}",
            data=where,
            split=f"nh2st_{place}",
            gene_list=f"nh2st_{place}",
            smooth=True,
            select_on_test=True,
            note="test labels are smoothed and the epoch is chosen on them"
            + ("; the authors list no slides: it runs on those that you prepare" if "/" in where else ""),
        )
        for place, where in data.items()
    ]


def _rankbygene() -> list[Experiment]:
    genes = {"breast-st1": "breast", "breast-st2": "breast", "lung-st": "lung"}
    sections = [
        SectionExperiment(
            name=f"rankbygene/{place}{suffix}",
            what=f"RankByGene on {place.title().replace('St', 'ST')}, {which}",
            method=f"rankbygene_{kind}",
            data=f"hest_1k/{place}",
            split="five_folds",
            gene_list=f"rankbygene_{kind}",
            space="cp10k_log1p",
            smooth=True,
            n_top=n_top,
            note="the authors list no slides, and their folds divide spots: ours divide the sections that you prepare",
        )
        for place, kind in genes.items()
        for suffix, which, n_top in (("", "all genes", None), ("-top250", "the 250 of highest mean in training", 250))
    ]
    survival = SlideExperiment(
        name="rankbygene/tcga-brca-survival",
        what="survival in TCGA-BRCA, attention pooling over bags",
        data="tcga_brca",
        table="clinical.tsv",
        layout="tcga",
        note="the authors released no code for it; the features are those that you prepare",
    )
    classes = [
        SlideExperiment(
            name=f"rankbygene/bcnb-{short}",
            what=f"{label} in BCNB, attention pooling over bags",
            data="bcnb",
            table="patient-clinical-data.csv",
            layout="bcnb",
            label=label,
            note="the published scores were not obtained; the authors released no code for it",
        )
        for short, label in (("aln", "ALN status"), ("her2", "HER2 status"), ("er", "ER"), ("pr", "PR"))
    ]
    return [*sections, survival, *classes]


_FROZEN = "image encoder frozen: the CPU preset"
_ON_TEST = "test labels smoothed, epoch chosen on them: set it beside ridge-both-smoothed only"

_COMPARED: dict[str, dict[str, Any]] = {
    "mclstexp-released": {
        "what": "mclSTExp, its released choices",
        "method": "mclstexp_her2st_cpu",
        "note": _FROZEN,
    },
    "mclstexp-paper": {
        "what": "mclSTExp, as its paper has it",
        "method": "mclstexp_her2st_cpu",
        "changes": {"variant": "paper", "distance": "l2", "keys": "spot", "training": {"optimizer": "adamw"}},
        "note": _FROZEN,
    },
    "mclstexp-corrected": {
        "what": "mclSTExp, ours: embeddings of unit length, temperature .5, 100 spots, keys without batch-mates",
        "method": "mclstexp_her2st_cpu",
        "changes": {"normalize": True, "temperature": 0.5, "k": 100, "keys": "spot"},
        "note": _FROZEN,
    },
    "nh2st-corrected": {
        "what": "NH2ST, ours: nothing smoothed, nothing chosen on the test",
        "method": "nh2st_stnet_cpu",
        "note": _FROZEN,
    },
    "rankbygene-released": {
        "what": "RankByGene, its released loss within parts of 8 spots",
        "method": "rankbygene_breast_cpu",
        "changes": {"training": {"accumulate": 4}},
        "note": _FROZEN,
    },
    "rankbygene-corrected": {
        "what": "RankByGene, ours: the loss that orders, over whole batches, the teacher updated each step",
        "method": "rankbygene_breast_cpu",
        "changes": {"variant": "ordered", "shifts": None, "teacher_update": "step", "teacher_start": 0.99},
        "note": _FROZEN,
    },
    "nh2st-released": {
        "what": "NH2ST, its released choices",
        "method": "nh2st_stnet_cpu",
        "changes": {"batches": "random", "sharing": False, "stop_by": "correlation"},
        "smooth": True,
        "select_on_test": True,
        "note": f"{_FROZEN}; {_ON_TEST}",
    },
    "mean": {"what": "the mean of the training spots", "method": "mean", "seeds": ONCE},
    "total-counts": {
        "what": "each spot's total count, no image: an oracle",
        "method": "oracle",
        "seeds": ONCE,
    },
    "ridge-colour": {"what": "ridge on colour and texture", "method": "ridge-colour", "seeds": ONCE},
    "ridge-colour-section": {
        "what": "ridge on colour and texture, scaled within each section",
        "method": "ridge-colour-section",
        "seeds": ONCE,
    },
    "ridge-deep": {"what": "ridge on an ImageNet network", "method": "ridge-deep", "seeds": ONCE},
    "ridge-both": {"what": "ridge on both", "method": "ridge-both", "seeds": ONCE},
    "nearest-both": {"what": "nearest training spots in both", "method": "nearest-both", "seeds": ONCE},
    "ridge-both-smoothed": {
        "what": "ridge on both, of smoothed labels",
        "method": "ridge-both",
        "smooth": True,
        "seeds": ONCE,
    },
}
"""What is compared on the sections that everyone can have, by name: fields of `SectionExperiment`."""

_GENE_WISE = {
    "split": "mclstexp_her2st_within_C",
    "space": "gene_log10_10k",
    "note": "a spot's total count stays in the target",
}
_IN_GENE_WISE = (
    *("mean", "total-counts", "ridge-colour", "ridge-colour-section", "ridge-deep", "ridge-both", "nearest-both"),
    "mclstexp-released",
)


def _ours() -> list[Experiment]:
    compared = [
        SectionExperiment(name=f"{split}/{name}", split=split, **fields)
        for split in ("within-C", "across-patients")
        for name, fields in _COMPARED.items()
    ]
    gene_wise = [
        SectionExperiment(name=f"gene-wise/{name}", **{**_COMPARED[name], **_GENE_WISE}) for name in _IN_GENE_WISE
    ]
    rna = SlideExperiment(
        name="tcga-luad/rna",
        what="survival in TCGA-LUAD from RNA, Cox's model with a ridge penalty",
        data="tcga_luad",
        layout="rna",
        seeds=tuple(range(5)),
    )
    return [*compared, *gene_wise, rna]


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in [*_mclstexp(), *_nh2st(), *_rankbygene(), *_ours()]
}
"""What can be reproduced: published rows first, then what everyone can run."""


def experiments_of(patterns: Sequence[str]) -> list[Experiment]:
    """Return the experiments of some names, or of patterns such as ``within-C/*``.

    Raises:
        ReproductionError: If nothing is called so.

    Example:
        >>> [experiment.name for experiment in experiments_of(["mclstexp/her2st-*"])][:2]
        ['mclstexp/her2st-no-position', 'mclstexp/her2st-resnet50']
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in EXPERIMENTS):
            raise ReproductionError(f"no experiment is called {pattern!r}: see `stlearn-lib reproduce list`.")
    return [experiment for name, experiment in EXPERIMENTS.items() if any(fnmatchcase(name, one) for one in patterns)]
