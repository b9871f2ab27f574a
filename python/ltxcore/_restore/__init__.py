"""Databases from replicas: restored once, or followed."""
