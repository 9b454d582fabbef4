"""What people and scripts see of a run: tables, and the same as JSON."""
