"""Factories of what tests start from."""
