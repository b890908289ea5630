"""From digital numbers to tiles: calibration, noise removal, geolocation, masks."""
