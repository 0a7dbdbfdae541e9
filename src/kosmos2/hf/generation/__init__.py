"""How answers are written: the settings, the rules, the searches, and `generate` over them."""
