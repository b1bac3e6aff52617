"""Who calls, what for, and whether a policy allows it."""
