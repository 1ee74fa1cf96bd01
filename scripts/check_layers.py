#!/usr/bin/env python3
"""Enforces who may include whom. Reads #include lines; prints each breach; exits 1 if there is any."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# folder -> our folders it may include (itself always)
OURS = {
    "config": set(),
    "cache": {"config"},
    "model": {"config"},
    "cluster": {"config", "cache", "model"},
    "net": {"config", "cache", "model", "cluster"},
    "actors": {"config", "cache", "model", "cluster", "net"},
    "app": {"config", "cache", "model", "cluster", "net", "actors"},
}
# third-party header prefix -> files (as path prefixes) that may include it
THIRD = {
    "caf/": ["actors/", "tests/actors/"],
    "torch/": ["model/torch/"], "ATen/": ["model/torch/", "model/cuda/"], "c10/": ["model/torch/", "model/cuda/"],
    "hiredis/": ["cache/redis_store.cpp"],
    "boost/": ["net/", "tests/"],
    "openssl/": ["config/digest.cpp", "net/", "tests/"],
    "yaml-cpp/": ["config/cluster_config.cpp"],
    "simdjson": ["model/files/", "model/text/", "net/", "tests/"],
    "pcre2": ["model/text/"], "utf8proc": ["model/text/"],
    "prometheus/": ["net/"],
    "google/protobuf": ["net/"], "net/proto/": ["net/"], "wire.pb.h": ["net/"],
    "spdlog/": ["actors/", "app/"],
    "CLI/": ["app/"],
    "doctest/": ["tests/"], "rapidcheck": ["tests/"],
    "fmt/": ["config/cluster_", "config/host_port.cpp", "cache/", "model/files/", "model/text/", "cluster/", "net/", "actors/", "app/", "tests/"],
}
BANNED = {"torch/torch.h": "20 s to compile", "torch/types.h": "10 s to compile",
          "torch/all.h": "20 s to compile", "ATen/Functions.h": "8 s to compile: include ATen/ops/*.h"}
# The files that may see Beast/Asio are named here, so that adding one is a decision.
BEAST = {"net/asio_impl.cpp", "net/http_client.cpp", "net/http_connection.cpp", "net/http_connection.h",
         "net/http_parser.cpp", "net/http_server.cpp"}
# cluster/ has no clock, thread or randomness.
PURE_BANNED = re.compile(r"#include <(thread|mutex|random|condition_variable|future|atomic)>|steady_clock::now|system_clock::now")

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]')


def main() -> int:
    breaches = []
    for path in sorted(ROOT.rglob("*")):
        rel = path.relative_to(ROOT).as_posix()
        if path.suffix not in {".h", ".cpp", ".cu", ".cuh"} or rel.startswith(("build/", ".", "work/")):
            continue
        top = rel.split("/")[0]
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            where = f"{rel}:{number}"
            if top == "cluster" and PURE_BANNED.search(line):
                breaches.append(f"{where}: cluster/ is pure: no clock, thread or randomness: {line.strip()}")
            found = INCLUDE.match(line)
            if not found:
                continue
            name = found.group(1)
            target = name.split("/")[0]
            if top in OURS and target in OURS and target != top and target not in OURS[top]:
                breaches.append(f"{where}: {top}/ may not include {name}")
            if name.startswith("model/torch/") and not rel.startswith("model/torch/"):
                breaches.append(f"{where}: model/torch/ is private to its plugin: {name}")
            if name in BANNED:
                breaches.append(f"{where}: {name} is banned: {BANNED[name]}")
            if name.startswith("boost/") and top == "net" and rel not in BEAST:
                breaches.append(f"{where}: only {', '.join(sorted(BEAST))} may include {name}")
            for prefix, allowed in THIRD.items():
                if name.startswith(prefix) and not any(rel.startswith(a) for a in allowed):
                    breaches.append(f"{where}: {name} is allowed only in {', '.join(allowed)}")
    for line in breaches:
        print(line)
    if not breaches:
        print("layers: clean")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
