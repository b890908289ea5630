"""A retraining put together: its plan from the settings, its steps in order, its reports with pictures."""
