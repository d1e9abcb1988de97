"""The commands of the `slimline` tool, one file each."""
