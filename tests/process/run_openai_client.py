"""Starts a node, runs openai_client_test.py against it, stops the node and looks for children that outlived it.

    python run_openai_client.py --troupe build/release/troupe --backend oracle
    python run_openai_client.py --troupe build/release/troupe --backend real --model .deps/models/smollm2.gguf
"""

import argparse
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import descendants

READY_S = 120
STOP_S = 40  # a drain takes at most 30 s
CLIENT = Path(__file__).with_name("openai_client_test.py")


def wait_ready(node: subprocess.Popen) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(node.stdout, selectors.EVENT_READ)
        line = node.stdout.readline().decode() if selector.select(READY_S) else ""
    if not line.startswith("ready "):
        raise RuntimeError(f"the node printed {line!r} instead of a ready line")
    return line.split()[1]


def run(arguments: argparse.Namespace, state: str, log) -> int:
    command = [arguments.troupe, "serve", "--port", "0", "--state", state]
    command += ["--backend", "oracle"] if arguments.backend == "oracle" else [arguments.model, "--name", "smollm2"]
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    try:
        url = wait_ready(node)
        children = descendants(node.pid)
        client = [sys.executable, str(CLIENT), "--base-url", url, "--backend", arguments.backend]
        failed = subprocess.run(client, stdin=subprocess.DEVNULL).returncode != 0
        children += descendants(node.pid)
        node.send_signal(signal.SIGTERM)
        code = node.wait(STOP_S)
    finally:
        node.kill()
        node.wait()
    if code != 0:
        print(f"the node ended with {code} after SIGTERM, expected 0")
        failed = True
    left = [child.pid for child in children if child.alive()]
    if left or not children:
        print(f"children of the node: {len(children)}, left after it ended: {left}")
        failed = True
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--troupe", required=True)
    parser.add_argument("--backend", choices=("oracle", "real"), required=True)
    parser.add_argument("--model", help="a GGUF file, with --backend real")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+b") as log:
        try:
            code = run(arguments, folder + "/state", log)
        except (RuntimeError, subprocess.TimeoutExpired) as problem:
            print(f"{problem}\n0 passed, 1 failed")
            code = 1
        if code:
            log.seek(0)
            print("the node's log:", log.read()[-20000:].decode("utf-8", "replace"), sep="\n", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
