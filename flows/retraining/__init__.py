"""The steps of a retraining: from what analysts confirmed to a new champion, or to why it stays; docs/operator/retraining.md."""
