"""Data sets of labelled images: SOS, OSD, folders of pairs, simulated chips; what leaks in them, and how to see it."""
