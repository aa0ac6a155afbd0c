"""How far assessors agree beyond chance: Krippendorff's alpha for names (nominal), with answers missing.

With n_uc answers c about unit u, m_u = sum_c n_uc, units with m_u < 2 left out, n = sum_u m_u, n_c = sum_u n_uc:

    observed  D_o = 1/n sum_u (m_u^2 - sum_c n_uc^2) / (m_u - 1)
    expected  D_e = (n^2 - sum_c n_c^2) / (n (n - 1))
    alpha = 1 - D_o / D_e.
"""

from collections import Counter
from collections.abc import Iterable, Sequence


def alpha(units: Iterable[Sequence[str]]) -> float | None:
    """1 for full agreement, 0 for what chance gives; None where nothing can disagree.

    Args:
        units: answers about each unit, from any number of assessors.
    """
    counted = [Counter(answers) for answers in units if len(answers) > 1]
    whole = sum(counted, Counter[str]())
    answers = whole.total()
    expected = answers**2 - sum(count**2 for count in whole.values())
    if not expected:
        return None
    observed = sum(
        (unit.total() ** 2 - sum(count**2 for count in unit.values())) / (unit.total() - 1) for unit in counted
    )
    return 1 - (answers - 1) * observed / expected
