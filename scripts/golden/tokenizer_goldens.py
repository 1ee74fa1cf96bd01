#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/ from two independent oracles: llama.cpp's tokenizer and Hugging Face `tokenizers`.

usage: tokenizer_goldens.py --llama-tokenize PROGRAM [--check-only]
Needs requirements.txt; PROGRAM is scripts/golden/llama_tokenize.cpp, built against the
llama.cpp of .deps/llama. Hugging Face objects are built from the vocabulary and merges in the GGUF files, with the
normalizer, pre-tokenizer and decoder of the real model family (written out below, from the families' published
tokenizer.json files).

corpus.txt: one string a line, escaped. NAME.txt: a line for each string and mode,
  parse-count parse-hash plain-count plain-hash   (hash: FNV-1a 64 over the ids as 4 little-endian bytes)
and, for the first FULL strings, a second line with the ids of the parse mode. Where the oracles disagree the ids are
Hugging Face's, and the string stands in exceptions-NAME.txt with its reason; an exception without a reason, or more
than 1 % of them, is an error.
llama.cpp does not normalise, so corpus-nfc.txt is compared apart (qwen2-nfc): Hugging Face gets the strings as they
are, llama.cpp gets them after Python's unicodedata.
"""
import argparse
import pathlib
import struct
import subprocess
import sys
import unicodedata

import tokenizer_corpus
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VOCABS = ROOT / ".deps/llama/vendor/llama.cpp/models"
FILES = {"smollm": ROOT / ".deps/models/smollm2.gguf", "gpt-2": VOCABS / "ggml-vocab-gpt-2.gguf", "llama-bpe": VOCABS / "ggml-vocab-llama-bpe.gguf",
         "qwen2": VOCABS / "ggml-vocab-qwen2.gguf", "qwen2-nfc": VOCABS / "ggml-vocab-qwen2.gguf", "llama-spm": VOCABS / "ggml-vocab-llama-spm.gguf"}
FULL = 100
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def read_gguf(path):
    fields = GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
    return get("tokens"), get("token_type"), get("scores"), get("merges")


def merges_of_scores(tokens, types, scores):
    """What `transformers` does when it converts a SentencePiece model: each split of a piece into two pieces, best
    score first; equal scores: longer left, then longer right part first."""
    vocab = {text: i for i, text in enumerate(tokens)}
    found = []
    for i, text in enumerate(tokens):
        if types[i] != NORMAL:
            continue
        local = [(text[:cut], text[cut:]) for cut in range(1, len(text)) if text[:cut] in vocab and text[cut:] in vocab]
        local.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        found += [(scores[i], pair) for pair in local]
    found.sort(key=lambda item: (item[0], len(item[1][0]), len(item[1][1])), reverse=True)
    return [pair for _, pair in found]


def hugging_face(name):
    tokens, types, scores, merges = read_gguf(FILES[name])
    vocab = {text: i for i, text in enumerate(tokens)}
    if name == "llama-spm":
        tok = Tokenizer(models.BPE(vocab, merges_of_scores(tokens, types, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        tok = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in merges], ignore_merges=name == "llama-bpe"))
        tok.decoder = decoders.ByteLevel()
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name in ("gpt-2", "smollm"))
        if name == "gpt-2":
            tok.pre_tokenizer = byte_level
        elif name == "smollm":
            tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
        else:
            split = pre_tokenizers.Split(Regex(CL100K % ("{1,3}" if name == "llama-bpe" else "")), "isolated")
            tok.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        if name.startswith("qwen2"):
            tok.normalizer = normalizers.NFC()
    special = [AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind in (CONTROL, UNKNOWN)]
    tok.add_special_tokens(special)
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t, kind in zip(tokens, types) if kind == USER_DEFINED])
    assert tok.get_vocab_size() == len(vocab), (name, tok.get_vocab_size(), len(vocab))

    def encode(text, parse):
        tok.encode_special_tokens = not parse
        return tok.encode(text, add_special_tokens=False).ids

    return encode


def llama_cpp(program, name, requests):
    data = b"".join(struct.pack("<II", parse, len(text.encode())) + text.encode() for text, parse in requests)
    out = subprocess.run([program, str(FILES[name])], input=data, stdout=subprocess.PIPE, check=True).stdout
    answers, at = [], 0
    for _ in requests:
        (count,) = struct.unpack_from("<I", out, at)
        answers.append(list(struct.unpack_from("<%di" % count, out, at + 4)))
        at += 4 + 4 * count
    return answers


def reason(name, text):
    """Why llama.cpp differs on `text`, or None. Each was looked at once by hand."""
    if name == "qwen2" and unicodedata.normalize("NFC", text) != text:
        return "llama.cpp does not normalise to NFC"
    if name == "qwen2" and "</s>" in text:
        return "llama.cpp makes the ordinary token </s> a control token because of its name"
    return None


def fnv(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack("<%di" % len(ids), *ids):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return "%016x" % value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama-tokenize", required=True)
    parser.add_argument("--check-only", action="store_true")
    args = parser.parse_args()
    out = ROOT / "tests/golden/tokenizer"
    corpora = {"corpus": tokenizer_corpus.strings(), "corpus-nfc": tokenizer_corpus.unnormalised()}
    if not args.check_only:
        for name, corpus in corpora.items():
            (out / (name + ".txt")).write_text("".join(tokenizer_corpus.escape(text) + "\n" for text in corpus))
    failed = False
    for name in FILES:
        normalise = name.endswith("-nfc")
        corpus = corpora["corpus-nfc" if normalise else "corpus"]
        requests = [(text, parse) for text in corpus for parse in (1, 0)]
        encode = hugging_face(name)
        ours = [encode(text, parse) for text, parse in requests]
        theirs = llama_cpp(args.llama_tokenize, name, [(unicodedata.normalize("NFC", t) if normalise else t, p) for t, p in requests])
        lines, exceptions, unexplained = [], [], []
        for i, text in enumerate(corpus):
            parse, plain = ours[2 * i], ours[2 * i + 1]
            lines.append("%d %s %d %s" % (len(parse), fnv(parse), len(plain), fnv(plain)))
            if i < FULL:
                lines.append(" ".join(map(str, parse)))
            if [parse, plain] != theirs[2 * i : 2 * i + 2]:
                why = reason(name, text)
                exceptions.append("%d\t%s\t%s" % (i, why, tokenizer_corpus.escape(text)))
                if why is None:
                    unexplained.append((text, parse, theirs[2 * i], plain, theirs[2 * i + 1]))
        share = len(exceptions) / len(corpus)
        print("%s: %d strings, %d exceptions (%.2f %%), %d without a reason" % (name, len(corpus), len(exceptions), 100 * share, len(unexplained)))
        for item in unexplained[:12]:
            print("   ", *map(ascii, item), sep="\n      ")
        failed = failed or share > 0.01 or bool(unexplained)
        if not args.check_only:
            (out / (name + ".txt")).write_text("\n".join(lines) + "\n")
            (out / ("exceptions-%s.txt" % name)).write_text("# index in corpus.txt, why llama.cpp differs, the string\n" + "".join(e + "\n" for e in exceptions))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
