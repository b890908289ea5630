"""SAROSS-Net, its training data, training and prediction."""
