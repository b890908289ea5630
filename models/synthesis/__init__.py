"""Synthetic pairs: how a folder of them is written, resumed and read."""
