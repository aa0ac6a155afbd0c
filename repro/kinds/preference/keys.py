"""What numbers of preferences are called in records; the variant is that of the pair."""

WIN_SHARE, PROXY_SHARE = "win_share", "proxy_share"
ALL_PAIRS = "all pairs"


def win_share(criterion: str) -> str:
    """Share of wins by votes."""
    return f"{WIN_SHARE}, {criterion}"


def proxy_share(metric: str) -> str:
    """Share of wins by a metric in place of people."""
    return f"{PROXY_SHARE}, {metric}"


def proxy_agreement(criterion: str) -> str:
    """Share of images of all pairs where a metric says what the majority says."""
    return f"proxy_agreement, {criterion}"


def proxy_kappa(criterion: str) -> str:
    """Cohen's kappa of the same."""
    return f"proxy_kappa, {criterion}"
