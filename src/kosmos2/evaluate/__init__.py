"""How good a model is, in numbers, on pictures that it never saw."""
