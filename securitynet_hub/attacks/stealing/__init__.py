"""Model stealing: a copy trained on a model's answers."""
