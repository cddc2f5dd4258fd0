"""Interaction tables: reading, checking, storing and splitting them, without TensorFlow."""
