"""The catalogue in a browser and over HTTP: OGC API - Features, its pages, and who may use it."""
