"""What a saved model says of slides that nobody has labelled: a table of predictions, and where it looked."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd
from matplotlib.figure import Figure

from stlearn_lib.cache import written_whole
from stlearn_lib.errors import BagError, StlearnError
from stlearn_lib.saving import UNREADABLE, saved_kind
from stlearn_lib.slides.averages import AverageClassifier, AverageSurvival
from stlearn_lib.slides.bags import Bag
from stlearn_lib.slides.classification import SlideClassifier
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.figures import plot_attention
from stlearn_lib.slides.pooling import SlideModel
from stlearn_lib.slides.survival import SlideSurvival

AnyModel = SlideClassifier | SlideSurvival | AverageClassifier | AverageSurvival
_KINDS: dict[str, type[AnyModel]] = {kind.__name__: kind for kind in get_args(AnyModel)}


def load_slide_model(folder: Path | str) -> AnyModel:
    """Read a saved model of slides, whichever it is.

    Args:
        folder: What `saving.SavedModel.save` wrote.

    Returns:
        The fitted model.

    Raises:
        StlearnError: If the folder holds no model of slides, or a file of it is missing or broken.

    Example:
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(20, seed=0)
        >>> model = load_slide_model(AverageSurvival().fit(cohort).save(mkdtemp()))
        >>> type(model).__name__, model.predict(cohort).shape
        ('AverageSurvival', (20, 1))
    """
    try:
        kind = _KINDS[saved_kind(folder)]
    except UNREADABLE as error:
        raise StlearnError(f"{folder} holds no saved model of slides ({error}); known: {', '.join(_KINDS)}.") from error
    return kind.load(folder)


def predict_files(model: AnyModel, files: Sequence[Path | str]) -> pd.DataFrame:
    """Predict slides from their bags alone.

    Args:
        model: A fitted model.
        files: Bags, see `bags.read_bag`; each slide is named after its file.

    Returns:
        A row for each slide: what `predict` of the model says, and ``trained_on``, true of slides whose name is that of
        one that the model was fitted on: what it says of these shows nothing.

    Raises:
        BagError: If a bag cannot be read or is of another width, or two slides have one name.
        NotFittedError: If the model has not been fitted.
    """
    slides = pd.Index([Path(file).stem for file in files], dtype=object)
    unlabelled = pd.DataFrame({"patient": "unknown"}, index=slides)
    predicted = model.predict(Cohort(unlabelled, dict(zip(slides, map(Path, files), strict=True))))
    return predicted.assign(trained_on=slides.isin(model.trained_on))


def write_attention(model: AnyModel, bag: Bag, folder: Path | str) -> Path:
    """Write where a model looked in a slide: ``SLIDE.csv`` for other tools, ``SLIDE.png`` to be looked at.

    Args:
        model: A fitted model with attention.
        bag: The slide, with coordinates.
        folder: Where to; made if need be.

    Returns:
        The table's path: a row for each patch with ``x`` and ``y``, as the bag has them, and ``attention``, its share.

    Raises:
        BagError: If the model has no attention, or the bag no coordinates, or is of another width.
        NotFittedError: If the model has not been fitted.
    """
    if not isinstance(model, SlideModel):
        raise BagError(f"{type(model).__name__} sees the average of a slide and has no attention: load another model.")
    path, shares, page = Path(folder) / f"{bag.slide}.csv", model.attention(bag), Figure(figsize=(6, 5))
    plot_attention(bag, shares, page.subplots())
    with written_whole(path) as temporary:
        pd.DataFrame(bag.coords, columns=["x", "y"]).assign(attention=shares).to_csv(temporary, index=False)
    with written_whole(path.with_suffix(".png")) as temporary:
        page.savefig(temporary, bbox_inches="tight", dpi=150)
    return path
