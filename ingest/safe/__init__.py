"""Reading Sentinel-1 products in the SAFE format."""
