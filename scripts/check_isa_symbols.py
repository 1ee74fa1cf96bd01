#!/usr/bin/env python3
"""Code compiled for a better processor must not be shared: the linker keeps one copy of each weak
(inline, template) function, and the copy with AVX-512 in it would crash where there is none.
Usage: check_isa_symbols.py ARCHIVE; exits 1 if an object for one instruction set defines a weak symbol."""
import re
import subprocess
import sys

OBJECT = re.compile(r"_(avx2|avx512|amx)\.cpp\.o$")
WEAK = set("WwVvu")


def main() -> int:
    listing = subprocess.run(["nm", "-A", "-C", sys.argv[1]], capture_output=True, text=True, check=True).stdout
    objects, breaches = set(), []
    for line in listing.splitlines():
        # archive:object:address type name; the address is blank for undefined symbols
        where, rest = re.match(r".*?:([^:]+\.o):(.*)", line).groups()
        if not OBJECT.search(where):
            continue
        objects.add(where)
        kind, name = re.match(r"\s*[0-9a-f]*\s+([A-Za-z])\s+(.*)", rest).groups()
        if kind in WEAK:
            breaches.append(f"{where}: weak symbol {name}: put it into an anonymous namespace or always inline it")
    if not objects:
        breaches.append(f"{sys.argv[1]} holds no object of an instruction set: the check looked at nothing")
    print("\n".join(breaches) or f"isa symbols: clean ({', '.join(sorted(objects))})")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
