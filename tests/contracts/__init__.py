"""Contracts: what holds whatever the modules are called."""
