"""The errors a user can meet, all under one base class so that one ``except`` catches them."""


class StlearnError(Exception):
    """Base of every error raised for a user: it says what is wrong, where, and what to do."""


class SectionError(StlearnError, ValueError):
    """A section's file, column, spot or image is missing or malformed."""


class SpaceError(StlearnError, ValueError):
    """An expression space is unknown."""


class GeneError(StlearnError, ValueError):
    """A gene list is unknown, or names genes that a section does not have."""


class ImageError(SectionError):
    """A section's image is missing, unreadable, or smaller than its spots' coordinates."""


class ArchiveError(StlearnError, ValueError):
    """An archive is broken, or holds what must not be unpacked."""


class WeightsError(StlearnError, RuntimeError):
    """Pretrained weights cannot be had; random weights are never used in their place."""


class ModelError(StlearnError, ValueError):
    """A model is asked for something it cannot be, or is given inputs or a checkpoint that do not fit it."""


class LossError(StlearnError, ValueError):
    """A loss is given embeddings that do not fit together, or a setting out of its range."""


class TrainingError(StlearnError, ValueError):
    """A model cannot be trained as asked: settings, devices, spots and checkpoints do not fit, or it diverges."""


class SplitError(StlearnError, ValueError):
    """A split is impossible (too few patients, unknown sections) or unknown."""


class EvaluationError(StlearnError, ValueError):
    """Truth and prediction do not fit together, or a measure is unknown."""


class BagError(StlearnError, ValueError):
    """A bag of features or a cohort's table is missing or malformed, or the two do not fit together."""


class ReproductionError(StlearnError, ValueError):
    """An experiment is unknown, its data is not here, or results cannot be read or compared."""


class NotFittedError(StlearnError, RuntimeError):
    """A method was asked to predict or to be saved before it was fitted."""


class RetrievalError(StlearnError, ValueError):
    """Queries, keys and values do not fit together, or hold numbers that cannot be compared."""


class WriteError(StlearnError, OSError):
    """A folder cannot be written: its disk is full, or it is read-only."""


class UndefinedGeneWarning(UserWarning):
    """A measure is undefined (NaN) for some genes because their values are constant."""


class LeakyFoldWarning(UserWarning):
    """A fold trains on sections of a patient that it also tests on."""
