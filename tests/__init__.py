"""Tests of vidpred."""
