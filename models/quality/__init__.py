"""Comparison of synthetic with real images: feature distances, SAR statistics, agreement with labels, copies."""
