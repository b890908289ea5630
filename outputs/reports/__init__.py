"""Reports for people: what was found and what was looked at, as one HTML page and as PDF, from the same content."""
