"""Pretraining: data stream, Lightning module, schedule and resumable runs."""
