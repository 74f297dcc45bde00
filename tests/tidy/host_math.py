"""Host scalars of the core and the kernels use no function of libm whose bits depend on the CPU (decision record 108).

What IEEE 754 defines to the bit (sqrt, fma, floor, fmod, frexp, ldexp ...) is free; powers and cosines are
kernels/power.h and kernels/cosine.h."""

import re

PLACES = ("server/core/", "kernels/")
CODE = (".h", ".cc", ".cu", ".cuh", ".inc")
INEXACT = ("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "exp2",
           "expm1", "hypot", "lgamma", "log", "log10", "log1p", "log2", "pow", "sin", "sinh", "tan", "tanh", "tgamma")
# With std:: or ::, or bare and not a member, a method or a longer name; float and long double forms too.
CALL = re.compile(r"(?:std::|(?<!\w)::|(?<![\w.>:~]))(?:" + "|".join(INEXACT) + r")[fl]?\s*\(")
NOT_A_CALL = re.compile(r"//.*|\"(?:[^\"\\]|\\.)*\"")
# `log` is a member there and is constructed by that name.
ALLOWED = {"server/core/model.cc": re.compile(r"^\s*log\(\*state->")}


def check_file(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        allowed = ALLOWED.get(path)
        if allowed is not None and allowed.search(line):
            continue
        found = CALL.search(NOT_A_CALL.sub("", line))
        if found:
            yield f"{path}:{number}: {found.group().strip()}) has other bits on other CPUs; see kernels/power.h"


def check(repository):
    for path in repository.matching(*CODE):
        if path.startswith(PLACES):
            yield from check_file(path, repository.text(path))
