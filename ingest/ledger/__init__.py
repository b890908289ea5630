"""The scene ledger: which scenes are known, how far each has been processed, and who is working on it."""
