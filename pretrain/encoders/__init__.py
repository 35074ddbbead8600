"""Encoders: one per modality, from decoded input to one row per sample."""
