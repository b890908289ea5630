"""Scores of models on labelled images: pixels, objects, outlines, calibration, with confidence intervals."""
