"""Measures, their intervals, genes, regions and spatial pattern: how good is a prediction, and how sure are we?"""

from stlearn_lib.evaluation.ceiling import Reliability, predict_from_neighbours, split_half_reliability
from stlearn_lib.evaluation.clustering import NO_REGION, Agreement, agreement, cluster_spots, labelled_spots
from stlearn_lib.evaluation.cross_validation import MEASURES, POOLED, Protocol, cross_validate, summarise
from stlearn_lib.evaluation.gene_prediction import pearson_per_batch, predict_held_out
from stlearn_lib.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from stlearn_lib.evaluation.measures import (
    Scores,
    acg,
    best,
    heg,
    mae,
    mae_per_gene,
    mse,
    mse_per_gene,
    pearson_per_gene,
    pearson_per_spot,
    r2,
    r2_per_gene,
    score,
    spearman_per_gene,
)
from stlearn_lib.evaluation.per_gene import MCLSTEXP_GENES, gene_table
from stlearn_lib.evaluation.spatial import morans_i, spatial_weights
from stlearn_lib.retrieval import nearest_keys, retrieve

__all__ = [
    "MCLSTEXP_GENES",
    "MEASURES",
    "NO_REGION",
    "POOLED",
    "Agreement",
    "Interval",
    "Protocol",
    "Reliability",
    "Scores",
    "acg",
    "agreement",
    "best",
    "bootstrap_interval",
    "cluster_spots",
    "cross_validate",
    "gene_table",
    "heg",
    "labelled_spots",
    "mae",
    "mae_per_gene",
    "morans_i",
    "mse",
    "mse_per_gene",
    "nearest_keys",
    "paired_difference",
    "pearson_per_batch",
    "pearson_per_gene",
    "pearson_per_spot",
    "predict_from_neighbours",
    "predict_held_out",
    "r2",
    "r2_per_gene",
    "retrieve",
    "score",
    "spatial_weights",
    "spearman_per_gene",
    "split_half_reliability",
    "summarise",
]
