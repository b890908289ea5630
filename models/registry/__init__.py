"""Model versions on disk, one of which is the champion."""
