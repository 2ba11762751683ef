"""Fitted slide models as folders, laid out like those of methods: safetensors, readable JSON and a model card."""

from typing import Self

from stlearn_lib.methods.card import (
    bullets,
    card_page,
    evaluation_text,
    history_lines,
    reference_of,
    settings_block,
    summary_of,
    versions_text,
)
from stlearn_lib.saving import Saved, Scores

_LIMITS = (
    "It is no medical device: not for diagnosis, nor for any decision about a patient.",
    "It takes features of the encoder, and of patches of the size and resolution, that it was fitted on; nothing in a "
    "bag of the right width tells it that they are others.",
    "It is not known to work on other organs, stains, scanners or populations than those of its training.",
    "What it says of a slide that it was fitted on shows nothing.",
    "Attention shows what weighed in a prediction, not what caused a disease.",
)

_LOADING = """```python
from stlearn_lib.slides.prediction import load_slide_model

model = load_slide_model("FOLDER")  # this folder
predictions = model.predict(cohort)  # a row for each slide
```

```shell
stlearn-lib slides predict FOLDER BAGS... -o predictions.csv
```"""


class SavedModel(Saved):
    """A model of slides, which can be saved once it is fitted, and loaded where none of its slides is.

    A subclass says which arguments build it again (`settings`). What its `fit` learns are arrays (`state`) and facts
    that JSON can hold (`learnt`). Where it is not known which one a folder holds, `prediction.load_slide_model` finds
    out.
    """

    def unfitted(self) -> Self:
        """Return a model of the same settings that has learnt nothing."""
        return type(self)(**self.settings())

    def card(self, scores: Scores | None = None) -> str:
        """Return the model card, in Markdown with the front matter of the Hugging Face hub.

        Args:
            scores: What is known of how well it does, by the measure's name.
        """
        classes = self.learnt.get("classes")
        return card_page(
            type(self).__name__,
            tags=("histology", "whole-slide-images", "multiple-instance-learning"),
            first_line=summary_of(type(self)),
            parts={
                "Model details": bullets(
                    [
                        *([f"Classes: {', '.join(map(str, classes))}."] if classes else []),
                        f"Written by {versions_text()}.",
                    ]
                ),
                "Uses": f"Research, on slides that are given as features of their patches.\n\n{_LOADING}",
                "Out-of-scope use and limitations": bullets(_LIMITS),
                "Training": bullets(
                    [
                        f"Fitted on {len(self.trained_on)} slides or patients, listed in `method.json`. The model does "
                        "not know where they come from, nor under which licence.",
                        *history_lines(self.learnt),
                    ]
                ),
                "Settings": settings_block(self.settings()),
                "Evaluation": evaluation_text(scores, "`stlearn-lib slides --help`"),
                "Citation": reference_of(type(self)),
            },
        )
