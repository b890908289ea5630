"""Model versions on disk, and which of them is the champion."""
