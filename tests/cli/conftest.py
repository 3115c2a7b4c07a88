"""Fixtures of the commands that learn a labelled task."""

from tests.toys import checkpoint, heard, make_checkpoint, toy

__all__ = ["checkpoint", "heard", "make_checkpoint", "toy"]
