"""Inference: predicting, sampling and inpainting with trained runs."""
