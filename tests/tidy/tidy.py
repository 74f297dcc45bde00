"""Style as a test: include arrows, dead files, document links and test cases, left-over markers, libm in
host scalars. Usage: tidy.py ROOT."""

import sys

import cases
import dead_files
import host_math
import includes
import links
import markers
from repository import Repository

CHECKS = (includes, dead_files, links, markers, cases, host_math)


def main(root):
    repository = Repository.open(root)
    findings = [finding for check in CHECKS for finding in check.check(repository)]
    for finding in findings:
        print(finding)
    print(f"{len(repository.paths)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
