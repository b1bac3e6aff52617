"""The bit-for-bit oracle: runs that are killed or stopped must end exactly as the run that nobody disturbed."""
