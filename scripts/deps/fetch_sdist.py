"""Downloads one pinned source archive from the index that pip is configured for, and does not build it.

    python3 fetch_sdist.py NAME FILENAME SHA256 FOLDER

`pip download` would run the archive's build system to learn its metadata, which takes minutes and runs unpinned code.
"""

import hashlib
import sys
from pathlib import Path

from pip._internal.commands import create_command


def fetch(name: str, filename: str, sha256: str, folder: Path) -> None:
    command = create_command("download")
    options, _ = command.parse_args([])
    with command.main_context():
        session = command.get_default_session(options)
        found = command._build_package_finder(options, session).find_all_candidates(name)
        links = [candidate.link for candidate in found if candidate.link.filename == filename]
        if not links:
            sys.exit(f"the package index has no {filename}: check pip's index-url and the network")
        part, digest = folder / (filename + ".part"), hashlib.sha256()
        with session.get(links[0].url_without_fragment, stream=True) as answer, part.open("wb") as out:
            answer.raise_for_status()
            for block in answer.iter_content(1 << 20):
                digest.update(block)
                out.write(block)
    if digest.hexdigest() != sha256:
        part.unlink()
        sys.exit(f"{filename} has sha256 {digest.hexdigest()}, expected {sha256}: do not use it")
    part.rename(folder / filename)


fetch(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
