"""Figures that can be trusted: rating and ranking metrics, baselines, and the report that joins them."""
