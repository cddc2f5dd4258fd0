"""Ratings in: tables of queries, candidates and events, their splits and their batches."""
