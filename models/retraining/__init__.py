"""The steps of a retraining, from reviewed slicks to the decision on a new champion; docs/operator/retraining.md."""
