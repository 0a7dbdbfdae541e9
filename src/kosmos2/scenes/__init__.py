"""Scenes drawn from numbers, with the truth about them: what the embedded model learns from."""
