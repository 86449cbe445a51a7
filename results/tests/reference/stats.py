"""Prints the figures that src/compare/stats/tests.rs expects. Needs scipy; made with 1.17.1.

python3 tests/reference/stats.py
"""
import numpy as np
from scipy import stats

SAMPLES = {
    "A": [0.01, -0.02, 0.035, 0.041, -0.003, 0.027, 0.05, 0.012, -0.008, 0.019],
    "B": [0.10, 0.09, 0.11, 0.12, 0.08, 0.101],
    "C": [0.02, -0.02, 0.02, -0.02, 0.0, 0.01, 0.03],
    "D": [0.004, 0.011, -0.002, 0.02, 0.007, 0.013, -0.006, 0.009, 0.015, 0.001, 0.008, 0.012],
}

for name, d in SAMPLES.items():
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False)
    print(name, "sign-flip p", repr(float(test.pvalue)))

rng = np.random.default_rng(1)
big = [round(float(x), 4) for x in rng.normal(0.01, 0.03, 20)]
print("E =", big)
test = stats.permutation_test((big,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False)
print("E sign-flip p, all 2^20 signs", repr(float(test.pvalue)))

for name in ("A", "B", "D"):
    d = np.array(SAMPLES[name])
    n = len(d)
    t = stats.t.ppf(0.975, n - 1)
    level = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * t))
    boot = stats.bootstrap((d,), np.mean, n_resamples=2_000_000, method="percentile", batch=50_000, rng=3)
    low, high = np.quantile(boot.bootstrap_distribution, [level, 1 - level])
    print(name, "level", repr(level), "interval", repr(float(low)), repr(float(high)))

print("holm", [float(p) for p in [0.04, 0.03, 0.06, 0.08]])  # by hand, see the test

for k, n in [(0, 10), (7, 10), (10, 10), (1, 1000), (3, 48), (12, 1_200_000)]:
    ci = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    print("clopper-pearson", k, n, repr(float(ci.low)), repr(float(ci.high)))

from scipy.special import betainc
for a, b, x in [(2.5, 0.5, 0.3), (1, 9, 0.1), (50, 60, 0.45), (13, 1_199_988, 1.2e-5)]:
    print("betainc", a, b, x, repr(float(betainc(a, b, x))))
for n in (6, 10, 12, 30):
    print("t.ppf(.975)", n - 1, repr(float(stats.t.ppf(0.975, n - 1))))
for x in (-3.0, -2.384, -1.0, 0.0, 0.5):
    print("norm.cdf", x, repr(float(stats.norm.cdf(x))))
