"""Exact mining on torch devices."""
