"""Prefect tasks: one-screen wrappers around the library; cache policy, retries, artifacts, no logic."""
