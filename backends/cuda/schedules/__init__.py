"""Schedules: loops of a function bound to blocks and threads."""
