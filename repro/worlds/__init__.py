"""Where prompts, references and training images come from."""
