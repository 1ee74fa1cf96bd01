#!/usr/bin/env python3
"""Per-ISA objects must share no code: a weak symbol of such a file could be the copy the linker keeps for all files,
and it would crash on lesser processors. usage: check_isa_objects.py LIBRARY.a [NM]; prints each breach; exits 1 if any."""
import re
import subprocess
import sys

MEMBER = re.compile(r"(\S+_(?:avx2|avx512|amx)\.cpp\.o):$")
SYMBOL = re.compile(r"^[0-9a-f]+ ([WVu]) (.+)$")  # defined and weak, or unique over the process


def main() -> int:
    library = sys.argv[1]
    nm = sys.argv[2] if len(sys.argv) > 2 else "nm"
    listing = subprocess.run([nm, "-C", library], check=True, capture_output=True, text=True).stdout
    member, members, breaches = None, 0, []
    for line in listing.splitlines():
        if line.endswith(":"):
            found = MEMBER.search(line)
            member = found.group(1) if found else None
            members += found is not None
        elif member and (symbol := SYMBOL.match(line)):
            breaches.append(f"{member}: {symbol.group(2)} is shared with other files: make it always_inline, or move it "
                            "or a type it depends on into an anonymous namespace")
    for line in breaches:
        print(line)
    if members == 0:
        print(f"{library} has no per-ISA objects: is it the right library?")
        return 1
    if not breaches:
        print(f"{members} per-ISA objects: no shared code")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
