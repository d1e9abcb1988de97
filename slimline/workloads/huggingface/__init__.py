"""Nets and preprocessing of Hugging Face directories, as data: config.json, safetensors and tokenizer or processor files."""
