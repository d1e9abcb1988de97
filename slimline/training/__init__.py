"""Training a net, or bringing one back after an edit: what every method that learns stands on."""
