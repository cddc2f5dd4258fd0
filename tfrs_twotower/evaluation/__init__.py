"""Evaluates models: metrics, baselines, confidence intervals, and the report that brings them together."""
