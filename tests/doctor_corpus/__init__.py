"""Cases that score the doctor: evidence of jobs whose fault is known, made without a look at the doctor's rules. README.md."""
