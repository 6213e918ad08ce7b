"""Resuming: what is remembered of a job, so that another run can go on with it."""
