"""Finding and reading Sentinel-1 products: names, containers, SAFE metadata."""
