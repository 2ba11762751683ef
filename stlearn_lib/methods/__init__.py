"""Methods: a model, a loss and a way to predict, under one contract."""
