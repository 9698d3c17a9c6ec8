"""How sure one can be of a rate, and of the difference of two. Pure; everything in percent."""

from math import sqrt

Z95 = 1.959963984540054
"""The quantile of the normal distribution that makes an interval one of 95 %."""

Interval = tuple[float, float]


def wilson_interval(succeeded: int, n: int, z: float = Z95) -> Interval | None:
    """The confidence interval of a success rate, in percent, of 95 % by default; None without observations.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927): honest for few observations and near 0 and 100.
    """
    if not n:
        return None
    rate = succeeded / n
    spread = z * sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    middle = rate + z**2 / (2 * n)
    scale = 100.0 / (1 + z**2 / n)
    low = 0.0 if succeeded == 0 else max(0.0, (middle - spread) * scale)
    high = 100.0 if succeeded == n else min(100.0, (middle + spread) * scale)
    return low, high


def newcombe_interval(before: tuple[int, int], after: tuple[int, int], z: float = Z95) -> Interval | None:
    """The confidence interval of the change from one rate to another, each given as (succeeded, n), in points; None
    where one has no observations.

    The hybrid score interval, method 10 of R. G. Newcombe, "Interval estimation for the difference between
    independent proportions: comparison of eleven methods", Statistics in Medicine 17 (1998).
    """
    first, second = wilson_interval(*before, z), wilson_interval(*after, z)
    if first is None or second is None:
        return None
    rate, then = 100.0 * before[0] / before[1], 100.0 * after[0] / after[1]
    low = then - rate - sqrt((then - second[0]) ** 2 + (first[1] - rate) ** 2)
    high = then - rate + sqrt((second[1] - then) ** 2 + (rate - first[0]) ** 2)
    return low, high
