"""Compile, fit, callbacks."""
