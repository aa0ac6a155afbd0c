"""One folder for each kind of result: what it is (`declare`), how it is measured (`measure`), its page and figures."""
