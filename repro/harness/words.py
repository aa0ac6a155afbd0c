"""Words of sentences that are put together."""


def lower(text: str) -> str:
    """With a small first letter, but for a name such as SwD or FLUX."""
    first = text.partition(" ")[0]
    return text if first[1:] != first[1:].lower() else text[:1].lower() + text[1:]
