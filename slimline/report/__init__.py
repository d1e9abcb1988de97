"""Pages, figures, the summary and the table of results. Nothing here imports torch."""
