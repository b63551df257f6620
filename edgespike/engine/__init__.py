"""Advance, sample, generate, snapshot."""
