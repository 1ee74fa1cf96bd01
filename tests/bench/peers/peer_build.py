"""Builds llama.cpp out of the pinned source archive, twice for an instruction set, and makes the second model.

Everything goes to build/peers: src/ (the sources), pthread/ and openmp/ (the builds for this machine's processor),
avx2-pthread/ and avx2-openmp/ (those for any processor with AVX2), q4_0.gguf. What is there already is kept; remove the
folder to start anew. clang-19, because g++ 12's native build dies in its AMX path.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DEPS = Path(os.environ.get("TROUPE_DEPS") or ROOT / ".deps")
FOLDER = ROOT / "build" / "peers"
MODEL = DEPS / "models" / "smollm2.gguf"
TOOLS = ["llama-bench", "llama-server"]
QUANTISER = "llama-quantize"
BUILDS = ("pthread", "openmp")
# Not needed to build, and most of the archive.
LEFT_OUT = (".git", "models/", "docs/", "media/", "tools/ui/src/", "tools/ui/static/", "tools/ui/tests/")
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_COMPILER=clang-19", "-DCMAKE_CXX_COMPILER=clang++-19",
           "-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld-19", "-DBUILD_SHARED_LIBS=OFF",
           "-DGGML_CCACHE=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
           "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]
# By what the bench is to compare; "" is the best of this machine's processor.
ISA_OPTIONS = {
    "": ["-DGGML_NATIVE=ON"],
    "avx2": ["-DGGML_NATIVE=OFF", *(f"-DGGML_{x}=ON" for x in ("AVX", "AVX2", "FMA", "F16C", "BMI2")),
             *(f"-DGGML_{x}=OFF" for x in ("AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16", "AMX_TILE",
                                           "AMX_INT8", "AMX_BF16"))],
}
OPENMP_PACKAGES = ["libomp5-19", "libomp-19-dev"]


def run(what: str, *command, **options) -> None:
    """A tool that fails ends this with its last lines."""
    print(f"peers: {what}", file=sys.stderr, flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\npeers: {what} failed; repair what it says above and run this again")


def unpack() -> None:
    name, file, sha256 = (ROOT / "scripts" / "deps" / "llama.txt").read_text().split()[:3]
    archive = DEPS / "dl" / file
    if not archive.exists():
        sys.exit(f"{archive} is missing: run scripts/setup --test")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        sys.exit(f"{archive} has another checksum than scripts/deps/llama.txt: remove it and run scripts/setup --test")
    inside = file.removesuffix(".tar.gz") + "/vendor/llama.cpp/"
    target = FOLDER / "src.new"
    shutil.rmtree(target, ignore_errors=True)
    print("peers: unpacking the sources", file=sys.stderr, flush=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix(inside)
            if name == member.name or name.startswith(LEFT_OUT) or not (member.isfile() or member.isdir()):
                continue
            member.name = name
            tar.extract(member, target)
    target.rename(FOLDER / "src")


def openmp() -> list[str]:
    """CMake options for clang-19's own OpenMP, taken out of its packages: installing them would remove other versions."""
    folder = FOLDER / "omp"
    lib = folder / "usr/lib/llvm-19/lib"
    if not (lib / "libomp.so").exists():
        folder.mkdir(exist_ok=True)
        run("downloading " + " and ".join(OPENMP_PACKAGES), "apt-get", "download", *OPENMP_PACKAGES, cwd=folder)
        for package in folder.glob("*.deb"):
            run(f"unpacking {package.name}", "dpkg", "-x", package, folder)
    include = lib / "clang/19/include"
    return ["-DGGML_OPENMP=ON", *(f"-DOpenMP_{x}_FLAGS=-fopenmp=libomp -I{include}" for x in ("C", "CXX")),
            *(f"-DOpenMP_{x}_LIB_NAMES=omp" for x in ("C", "CXX")), f"-DOpenMP_omp_LIBRARY={lib / 'libomp.so'}",
            f"-DCMAKE_BUILD_RPATH={lib}"]


def build(name: str, isa: str = "", tools: list[str] = TOOLS) -> Path:
    """The folder of that build's programs."""
    full = f"{isa}-{name}" if isa else name
    folder = FOLDER / full
    if not all((folder / "bin" / tool).exists() for tool in tools):
        options = [*ISA_OPTIONS[isa], *(openmp() if name == "openmp" else ["-DGGML_OPENMP=OFF"])]
        if shutil.which("ccache"):
            options += [f"-DCMAKE_{x}_COMPILER_LAUNCHER=ccache" for x in ("C", "CXX")]
        # The sources look for a git repository around them, and must not find ours.
        environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(FOLDER)}
        if not (folder / "build.ninja").exists():
            run(f"configuring {full}", "cmake", "-S", FOLDER / "src", "-B", folder, "-G", "Ninja", *OPTIONS, *options,
                env=environment)
        run(f"building {full}, some minutes", "ninja", "-C", folder, *tools, env=environment)
    return folder / "bin"


def q4_0(isa: str = "") -> Path:
    """The same weights in the format llama.cpp is best at."""
    path = FOLDER / "q4_0.gguf"
    if not path.exists():
        part = path.with_suffix(".part")
        quantiser = build("pthread", isa, [QUANTISER]) / QUANTISER
        run("requantising to Q4_0", quantiser, "--allow-requantize", MODEL, part, "Q4_0")
        part.rename(path)
    return path


def prepare(isa: str = "") -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "src").exists():
        unpack()
    for name in BUILDS:
        build(name, isa)
    q4_0(isa)


if __name__ == "__main__":
    prepare()
