"""Metrics: how they are collected, and the numbers that are ready about each at any time."""
