"""Becoming a service of systemd."""
