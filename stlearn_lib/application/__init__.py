"""A fitted method on a slide that nobody has measured: from checkpoint and slide to predicted expression."""
