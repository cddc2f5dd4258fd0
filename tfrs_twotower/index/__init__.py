"""Indexes: the best candidates for a query vector. Vectors and ids, no model."""
