"""A variant on disk: a folder that is whole, checked and free of pickles."""
