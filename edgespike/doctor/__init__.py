"""Finding out why an installation doesn't work, or won't: one finding for each thing it needs."""
