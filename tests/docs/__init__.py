"""The docs are tested, too."""
