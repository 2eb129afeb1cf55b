"""Distilling a student from a teacher that another run has trained."""
