"""Whole slides as bags of features: classification, survival, attention, and features for other tools."""
