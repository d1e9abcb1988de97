"""The memory of nights: what each run came to, which changes are beyond the noise, and what differed where they came about."""
