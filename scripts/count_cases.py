#!/usr/bin/env python3
"""Sums up test cases, not programs, from ctest's JUnit reports; the last line is `N passed, N failed`.

A doctest program counts what its summary says, a Python test its own `N passed, N failed` line, anything else is one
case. A program that failed without a failed case (crash, time-out) counts as one more failed case, and so does one
without any case (it proves nothing; one that skipped all of them said why), a report that is missing, and a build that
broke. What was skipped is told with its reasons.
"""

import argparse
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

DOCTEST = re.compile(r"^\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed", re.M)
OWN = re.compile(r"^(\d+) passed, (\d+) failed", re.M)
SKIPPED = re.compile(r"^\d+ passed, \d+ failed, ([1-9]\d*) skipped", re.M)
WHY = re.compile(r"\bskipped (['\"])(.+)\1$", re.M)


def skipped(output: str) -> tuple[int, str]:
    """How many cases, and why."""
    return sum(map(int, SKIPPED.findall(output)[-1:])), "; ".join(dict.fromkeys(reason for _, reason in WHY.findall(output)))


def cases(test: ElementTree.Element) -> tuple[int, int]:
    output = test.findtext("system-out") or ""
    summaries = DOCTEST.findall(output) or OWN.findall(output)[-1:]
    ok = test.get("status") == "run"
    if not summaries:
        return (1, 0) if ok else (0, 1)
    passed = sum(int(p) for p, _ in summaries)
    failed = sum(int(f) for _, f in summaries)
    if failed == 0 and (not ok or (passed == 0 and not all(skipped(output)))):
        failed = 1
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broken-builds", type=int, default=0)
    parser.add_argument("reports", nargs="*")
    arguments = parser.parse_args()
    passed, failed = 0, arguments.broken_builds
    for report in arguments.reports:
        if not Path(report).exists():
            print(f"{report} is missing: ctest did not finish")
            failed += 1
            continue
        for test in ElementTree.parse(report).iter("testcase"):
            p, f = cases(test)
            passed, failed = passed + p, failed + f
            left_out, why = skipped(test.findtext("system-out") or "")
            if left_out:
                print(f"{report}: {test.get('name')}: {left_out} skipped: {why or 'it does not say why'}")
            if f:
                print(f"{report}: {test.get('name')}: {p} passed, {f} failed, {float(test.get('time', 0)):.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
