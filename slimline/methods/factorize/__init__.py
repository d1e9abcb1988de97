"""Low-rank factorization: two thin layers for one wide one."""
