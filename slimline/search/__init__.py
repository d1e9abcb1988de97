"""The recipe search: chains of methods as trials, pure functions that neither run a stage nor touch a project."""
