"""Learn, check and apply the prediction of spatial gene expression from H&E slides.

Data becomes sections, sections become batches, a model turns batches into embeddings, a loss compares them, a
method ties the three together, an evaluation scores it, and the book tells the story. Importing this package is
cheap: every part is imported where it is used, for example ``from stlearn_lib.data import expression``.
"""

__version__ = "0.1.0"
