"""Scoring models on labelled images: pixels, objects, outlines, calibration, and how sure the scores are."""
