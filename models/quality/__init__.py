"""Comparison of synthetic with real images: feature distances, SAR statistics, agreement with labels, copies."""

from models.quality.agreement import Agreement
from models.quality.compare import comparison_table, require_comparable, within_noise
from models.quality.extractors import (
    Extractor,
    inception_extractor,
    inception_file,
    sar_extractor,
)
from models.quality.frechet import FeatureQuality, Features, FeatureSet, feature_quality
from models.quality.measures import Measure
from models.quality.nearest import Nearest
from models.quality.statistics import SarStatistics, StatisticsGatherer, statistics_measures

__all__ = [
    "Agreement",
    "Extractor",
    "FeatureQuality",
    "FeatureSet",
    "Features",
    "Measure",
    "Nearest",
    "SarStatistics",
    "StatisticsGatherer",
    "comparison_table",
    "feature_quality",
    "inception_extractor",
    "inception_file",
    "require_comparable",
    "sar_extractor",
    "statistics_measures",
    "within_noise",
]
