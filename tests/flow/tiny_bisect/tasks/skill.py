"""What the report thinks of the code."""

SKILL = 0.95
