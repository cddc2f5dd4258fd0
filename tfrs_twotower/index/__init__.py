"""Indexes: find the best candidates for a query vector. They handle vectors and ids, and know no model."""
