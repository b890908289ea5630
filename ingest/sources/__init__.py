"""Sources of scenes."""
