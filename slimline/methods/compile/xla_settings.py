"""Hold XLA to the CPU and to a number of threads, and keep it from writing a cache."""

import os

NARROW = {"int64": "int32", "float64": "float32"}


def narrow(dtype: str) -> str:
    """The type in which JAX, with 64-bit numbers off, holds values of a type."""
    return NARROW.get(dtype, dtype)


def settle_xla(threads: int) -> None:
    """Call it before JAX makes its first array: what XLA's CPU client is made with cannot be changed later.

    XLA sizes its thread pool by NPROC; asynchronous dispatch would compute on one more thread. Without a cache folder and
    with the cache off nothing is written. JAX itself sends nothing; torchax asks for libtpu's telemetry, which the CPU has not.
    https://docs.jax.dev/en/latest/config_options.html
    """
    os.environ |= {"NPROC": str(threads), "JAX_PLATFORMS": "cpu", "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0"}
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_compilation_cache", False)
