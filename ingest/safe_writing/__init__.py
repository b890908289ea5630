"""Writing Sentinel-1 products in the SAFE format, for the simulator and for tests."""
