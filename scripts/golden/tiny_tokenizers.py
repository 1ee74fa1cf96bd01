"""The tokenizers of the tiny checkpoints: real kinds and real pre-split patterns, toy vocabularies."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

TEXT = (
    "the quick brown fox jumps over the lazy dog and the other animals that were there in the morning, "
    "when all the people of the town had been told that the theatre would open again. "
)


def _train(tok: Tokenizer, vocab: int, specials: list[str]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=specials, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tok.train_from_iterator([TEXT] * 4, trainer)
    assert tok.get_vocab_size() == vocab, tok.get_vocab_size()
    return tok


def llama3(vocab: int) -> Tokenizer:
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok = _train(tok, vocab, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    tok.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return tok


def smollm(vocab: int) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tok.decoder = decoders.ByteLevel()
    return _train(tok, vocab, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def qwen2(vocab: int) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok = _train(tok, vocab - 3, [])
    # As in Qwen's files the special tokens stand behind the vocabulary of the model.
    tok.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return tok


def sentencepiece(vocab: int) -> Tokenizer:
    """Llama 2 and Mistral as Hugging Face converts them: U+2581 for the space, bytes for what is unknown."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    merges = []
    chars = ["\u2581"] + list("etaonhrisdlu")
    words = ["th", "the", "\u2581t", "\u2581th", "\u2581the", "an", "in", "er", "\u2581a", "\u2581an", "on", "re"]
    for word in words:
        for cut in range(1, len(word)):
            left, right = word[:cut], word[cut:]
            if left in chars + words and right in chars + words:
                merges.append((left, right))
    tokens += chars + words
    tokens += [chr(0x4E00 + i) for i in range(vocab - len(tokens))]  # one-character words fill the rest
    assert len(tokens) == vocab
    tok = Tokenizer(
        models.BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tok.add_special_tokens([AddedToken(t, special=True) for t in ("<unk>", "<s>", "</s>")])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tok
