"""From class probabilities to slicks and the files that carry them."""
