"""Training: the engine that all trainings share, and the training of segmentation networks."""
