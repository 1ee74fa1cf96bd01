"""The strings every tokenizer is compared on: hand-written ones, then made ones from a fixed seed.

The functions give the same lists on every machine; tests/golden/tokenizer/corpus*.txt hold them, one string a line,
escaped."""
import random
import unicodedata

HAND = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "Hello", " Hello", "Hello world", "hello  world", "  leading", "trailing  ",
    "Hello, y'all! How are you \U0001F601 ?", "I'm you're he'd we'll they've it's don't", "I'M YOU'RE HE'D WE'LL THEY'VE IT'S DON'T",
    "I’m you’re he’d", "'s 't 're 've 'm 'll 'd", "''s '''t 'S'T'RE", "'\u017fo 'K\u212aelvin '\u212a", "x'ſ y'Ve z'lL",
    "3", "33", "333", "3333", "33333", "333333", "3.14159", "1,000,000", "0x1F2e", "1e-10", "12:34:56", "2024-02-29T23:59:60Z",
    "Cửa Việt", "discards", "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n\U0001F680 (normal) \U0001F636\u200d\U0001F32B\ufe0f (multiple emojis concatenated) \u2705",
    "\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466", "\U0001F469\U0001F3FD\u200d\U0001F680", "\U0001F3F4\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F",
    "\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7", "1\ufe0f\u20e3 #\ufe0f\u20e3", "\u2764\ufe0f vs \u2764", "\u270c\U0001F3FF",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "abc \u05d0\u05d1\u05d2 123 \u0661\u0662\u0663", "\u202eevil\u202c \u2066x\u2069", "\u0627\u0644\u0633\u0651\u064e\u0644\u064e\u0627\u0645\u064f",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca\u3000\u5168\u89d2\u3000\u30b9\u30da\u30fc\u30b9", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\uff11\uff12\uff13\uff21\uff22\uff43", "\u534a\u89d2\uff76\uff85",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u0531\u0580\u0565\u0582", "\u1200\u120e \u12d3\u1208\u121d",
    "e\u0301 \u00e9 \u1e9b\u0323 \u2126 \u212b", "\u1112\u1161\u11ab\uae00", "\ud55c\u1100\u1161", "a\u0328\u0301\u0323", "\u0344 \u0958 \u2adc \ufb1d", "\u0061\u030a\u212b", "\u0cc6\u0cc2 \u0b47\u0b56 \u09c7\u09be",
    "<|im_start|>user\nHi<|im_end|>\n", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<s>[INST] Hi [/INST]</s>", "<s> x </s> y", "<unk>", "<|endoftext|>", " <|endoftext|> ", "a<|endoftext|>b<|endoftext|>",
    "<|im_start|", "<|im_start|><|im_start|>", "<|IM_START|>", "<| im_start |>", "<tool_call>{\"a\": 1}</tool_call>", "<|fim_prefix|>x<|fim_suffix|>y", "<0x0A>", "<0xFF>", "<|reserved_special_token_0|>", "<repo_name>r<file_sep>",
    "\u2581", "\u2581\u2581a b\u2581c", " \u2581 ", "\u010a\u0120 \u0120the",
    "\x00", "a\x00b", "\x01\x02\x03", "\x1b[31mred\x1b[0m", "\x7f\x80\x85\x9f", "a\u0085b", "a\x0bb\x0cc", "\x1c\x1d\x1e\x1f", "\ufeffBOM", "a\ufeff",
    "\u00a0nbsp\u00a0", "\u180e\u180e x", "\u200b\u200b x\u200by", "\u2028line\u2029para", "\u3000\u3000x", "\u1680og", "x\u2003\u2003y", "\u202f5", "\u00ad-\u00ad",
    "\uffff\ufffe", "\U0010ffff", "\U000f0000", "\ue000\uf8ff", "\ufffd", "\u0378", "\U0001fae8\U0001faf7",
    "\u00bd\u00b2\u2167\u2460\u096b\u0be7", "\U0001d7d8\U0001d7d9", "\u3007\u4e00\u4e8c\u4e09", "\u3289", "x\u00b2+y\u00b3", "\u2080\u2081",
    "ab" * 200, "a" * 500, " " * 300, "\n" * 120, "\t" * 77, "=" * 250, "9" * 130, "\u4f60" * 90, "\U0001F600" * 60, "-" * 81, "ha" * 64 + "!", "\u2581" * 40, " \n" * 60, "aA" * 77, "\u00c3\u00c2" * 40,
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "def f(x):\n    return x**2  # square\n", "if(a&&b||!c){x=~y^z;}", "SELECT * FROM t WHERE a='b' AND c<>1;", "<div class=\"x\">&nbsp;</div>", "https://example.org/a?b=c&d=%20#e", "user.name+tag@example.co.uk",
    "/usr/local/bin:$PATH", "C:\\Windows\\System32", "#include <vector>\n", "\\alpha\\beta $x^2$", "```python\nprint('hi')\n```", "{\"k\": [1, 2.5, null, true], \"u\": \"\\u00e9\"}", "a\tb\tc\n1\t2\t3\n", "key: value\n  - item\n  - item2\n", "<!-- c --><br/>",
    "!!!???...", "...", "\u2026", "\u2014\u2013-", "\u00ab\u00bb\u201e\u201c\u201d\u2018\u2019", "(a)[b]{c}<d>", "$100 \u20ac200 \u00a3300 \u20bf4", "50% off!!!", "@user #tag", "a_b_c __init__", "camelCase PascalCase snake_case kebab-case",
    "!\n", "!\n\n", " !\n", "a\n!", "x\r\ny", "x\n\ny", "x \n y", "x\r\r\ny", "  \n  x", "\n\n\n  \n", " \r\n ", "end. \n", ".\n\n\n", "?\r\n\r\n",
    "\u01c5 \u02b0 \u00aa\u00ba", "\u0345\u0399", "stra\u00dfe STRASSE \u1e9e", "\u0130\u0131iI", "\ufb00\ufb03", "na\u00efve caf\u00e9 co\u00f6perate", "Dvo\u0159\u00e1k \u0141\u00f3d\u017a \u00c5ngstr\u00f6m \u00d1and\u00fa", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
]

WORDS = {
    "english": "the of and to in is that for it as was with on be by this are from or an which you one we all there can more "
               "server answer token stream cluster Actor Failover memory Quick brown fox jumps over lazy dog unbelievable "
               "internationalization reproducibility pseudopseudohypoparathyroidism".split(),
    "latin": "él niño façade Übergröße żółć čeština kôň smörgåsbord ångström đồng phở tiếng Việt İstanbul ığdır æther "
             "œuvre þing ðat ŝanĝo ħobż ținută".split(),
    "greek": "καλημέρα κόσμε ΑΘΗΝΑ φιλοσοφία Ὀδύσσεια ᾠδή".split(),
    "cyrillic": "Привет мир ёлка объезд Україна їжак Србија Қазақстан щи".split(),
    "hebrew": "שלום עולם בְּרֵאשִׁית ירושלים".split(),
    "arabic": "مرحبا بالعالم السَّلَامُ عَلَيْكُمْ لا إله پارسی گفتگو می‌خواهم اردو".split(),
    "indic": "नमस्ते दुनिया हिन्दी ক্ষমা বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ සිංහල".split(),
    "asia": "สวัสดี ภาษาไทย ສະບາຍດີ ភាសាខ្មែរ မြန်မာ བོད་ཡིག ᠮᠣᠩᠭᠣᠯ".split(),
    "cjk": "你好 世界 人工智能 分布式系统 龘 𠀀𠀁 繁體中文 日本語 東京都 こんにちは カタカナ ﾊﾝｶｸ 々 〆 ヶ 안녕하세요 한국어 글자 ㄱㄴㄷ".split(),
    "other": "გამარჯობა Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ 𐌰𐌱 𓀀𓀁 𝔘𝔫𝔦 ⵜⴰⵎⴰⵣⵉⵖⵜ ꦗꦮ".split(),
}
EMOJI = "😀 😂 🥺 🤖 🫠 👍 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🏴‍☠️ 🇯🇵 🇧🇷 ❤️ ❤️‍🔥 ☺ ☺️ 1️⃣ #️⃣ 🧑🏿‍🤝‍🧑🏻 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ✊🏾 👁️‍🗨️ 🐻‍❄️ ♀ ♂️ ⚕ 🫱🏻‍🫲🏿".split()
SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r", "\x0b", "\x0c", "\u00a0", "\u1680", "\u2002",
          "\u2003", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u0085", "\u200b", "\u180e", "\ufeff", "\x1c", "\x1f"]
PUNCT = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["…", "—", "“", "”", "‘", "’", "«", "»", "。", "、", "！", "「", "」", "·", "¿", "¡", "§", "°", "±", "×", "÷", "→", "≠", "∞", "€", "£", "¥", "₹", "™", "©"]
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "৪৫৬", "²³¹⁴", "₀₁₂", "½¼¾⅓", "ⅠⅡⅣⅻ", "①②⑩", "𝟘𝟙𝟚", "一二三"]
CONTRACTIONS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'Re", "'rE", "'ve", "'VE", "'m", "'M", "'ll", "'LL", "'lL", "'d", "'D", "’s", "'ſ", "'x", "''", "'"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "<unk>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>",
            "<|end_header_id|>", "<|fim_prefix|>", "<tool_call>", "</tool_call>", "<|reserved_special_token_3|>", "<file_sep>", "<repo_name>", "<|im_", "im_end|>", "<pad>", "[INST]"]
CODE = ["def {a}({b}, {c}=None):\n    \"\"\"{d}\"\"\"\n    return {b}[{n}:] + str({c})\n", "for (auto& {a} : {b}) {{\n\t{a}->{c}({n});\n}}\n", "const {a} = await {b}(`${{{c}}}/{n}`);\n",
        "SELECT {a}, COUNT(*) AS {b} FROM {c} WHERE {d} >= {n} GROUP BY 1;\n", "{{\"{a}\": {{\"{b}\": [{n}, {n}.5, null], \"{c}\": \"{d}\"}}}}", "<{a} {b}=\"{c}\">{d}</{a}>\n", "fn {a}<'{b}>({c}: &'{b} str) -> Option<u{n}> {{ None }}\n",
        "{a}:\n  {b}: {n}\n  {c}:\n    - {d}\n    - \"{a}\"\n", "if [[ -z \"${{{a}:-}}\" ]]; then\n  echo '{b}' | sed 's/{c}/{d}/g' >&2\nfi\n", "template <class {a}, int {b} = {n}>\nstruct {c} : {d}<{a}> {{}};\n", "    if {a} is not {b}:\n        raise {c}Error(f\"{{{d}!r}} {n:>4}\")\n",
        "\\begin{{{a}}}\n  {b}_{{{n}}} \\leq \\frac{{{c}}}{{{d}}}\n\\end{{{a}}}\n", "{a} := map[string]{b}{{\"{c}\": {n}}}\n\tdefer {d}()\n", "0x{n:08x} {a}:\tmov\t%r{b}, -{n}(%{c})\t# {d}\n", "- [x] **{a}** _{b}_ ~~{c}~~ [{d}](http://{a}.{b}/{n})\n"]
IDENTS = "x i n foo bar_baz getValue HTTPServer __name__ kMaxSize user_id2 _tmp T data Node λ größe 变量 émile".split()


def assigned(rng, ranges):
    while True:
        low, high = rng.choice(ranges)
        char = chr(rng.randint(low, high))
        if unicodedata.category(char) not in ("Cn", "Cs"):
            return char


def words(rng, count):
    lists = rng.sample(sorted(WORDS), rng.randint(1, 3))
    return [rng.choice(WORDS[rng.choice(lists)]) for _ in range(count)]


def prose(rng):
    out = ""
    for word in words(rng, rng.randint(2, 14)):
        out += word if rng.random() < 0.9 else word.upper()
        out += rng.choice([" ", " ", " ", " ", ", ", ". ", "-", "? ", "! ", "\n", ""])
    return out


def spaced(rng):
    return "".join(rng.choice([rng.choice(SPACES), rng.choice(SPACES) * rng.randint(1, 9), rng.choice(["x", "é", "1", "!", "你", "The"])]) for _ in range(rng.randint(2, 12)))


def digits(rng):
    out = ""
    for _ in range(rng.randint(1, 6)):
        alphabet = rng.choice(DIGITS[:3] + [DIGITS[0]] * 4 + DIGITS)
        out += "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 9)))
        out += rng.choice(["", " ", ".", ",", "-", ":", "/", "x", " km", "%", "\n"])
    return out


def emoji(rng):
    return "".join(rng.choice(EMOJI) + rng.choice(["", "", " ", "\u200d", "\ufe0f", "!", "ok"]) for _ in range(rng.randint(1, 8)))


def control(rng):
    return "".join(chr(rng.choice([rng.randint(0, 31), rng.randint(127, 160), rng.randint(32, 126)])) for _ in range(rng.randint(1, 24)))


def code(rng):
    out = ""
    for _ in range(rng.randint(1, 3)):
        indent = rng.choice(["", "", "  ", "    ", "\t", "        "])
        text = rng.choice(CODE).format(a=rng.choice(IDENTS), b=rng.choice(IDENTS), c=rng.choice(IDENTS), d=rng.choice(IDENTS), n=rng.randint(0, 5000))
        out += "".join(indent + line for line in text.splitlines(True))
    return out


def contractions(rng):
    return "".join(rng.choice(["I", "we", " they", "DON", " it", "é", "1", "", " ", "don", "x"]) + rng.choice(CONTRACTIONS) + rng.choice(["", " ", "a", "\n", "!"]) for _ in range(rng.randint(1, 8)))


def right_to_left(rng):
    marks = ["\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202e", "\u2067", "\u2069", "\u0640", " ", " ", "، ", "؟", " 123 ", " (abc) "]
    return "".join(rng.choice(WORDS[rng.choice(["hebrew", "arabic"])]) + rng.choice(marks) for _ in range(rng.randint(1, 9)))


def combining(rng):
    bases = "aeiouAEInsyzkαωиеกहㅎ "
    out = ""
    for _ in range(rng.randint(1, 8)):
        out += rng.choice(bases) + "".join(chr(rng.choice([rng.randint(0x300, 0x345), 0x327, 0x328, 0x323, 0x308, 0x301])) for _ in range(rng.randint(0, 3)))
        if rng.random() < 0.3:
            out += chr(0x1100 + rng.randrange(19)) + chr(0x1161 + rng.randrange(21)) + (chr(0x11A8 + rng.randrange(27)) if rng.random() < 0.5 else "")
    return out


def specials(rng):
    return "".join(rng.choice(SPECIALS) + rng.choice(["", "", " ", "\n", "user", "x", "  "]) + (rng.choice(WORDS["english"]) if rng.random() < 0.4 else "") for _ in range(rng.randint(1, 5)))


def any_characters(rng):
    ranges = rng.choice([[(0x20, 0x24F)], [(0x250, 0x1FFF)], [(0x2000, 0x2FFF)], [(0x3000, 0xD7FF)], [(0xF900, 0xFFFD)], [(0x10000, 0x1FFFF)], [(0x20, 0xD7FF), (0xE000, 0x2FFFF)]])
    return "".join(assigned(rng, ranges) + (" " if rng.random() < 0.15 else "") for _ in range(rng.randint(1, 20)))


def punctuation(rng):
    return "".join(rng.choice([rng.choice(PUNCT), rng.choice(PUNCT) * rng.randint(1, 6), rng.choice(["a", " ", "\n", "\r\n", "B", "7", " ab"])]) for _ in range(rng.randint(2, 18)))


def mixed(rng):
    kinds = [prose, spaced, digits, emoji, code, contractions, right_to_left, punctuation, any_characters]
    return "".join(rng.choice(kinds)(rng) for _ in range(rng.randint(2, 4)))


def long_runs(rng):
    return rng.choice([rng.choice(EMOJI), rng.choice(PUNCT), rng.choice(SPACES), rng.choice(IDENTS), rng.choice(words(rng, 3))]) * rng.randint(10, 90)


def end_of_text(rng):
    return "".join(rng.choice(["<s>", "</s>", "[INST] ", " [/INST]", " ", "\n"]) + rng.choice(WORDS["english"]) for _ in range(rng.randint(2, 5)))


KINDS = [(prose, 420), (code, 260), (spaced, 220), (digits, 170), (emoji, 140), (control, 110), (contractions, 110), (right_to_left, 120), (combining, 130), (specials, 130),
         (any_characters, 220), (punctuation, 140), (mixed, 130), (long_runs, 60), (end_of_text, 8)]


def strings():
    """The corpus. Made strings are in normalisation form C, because only one of the oracles normalises: what happens
    to others is the matter of `unnormalised()`."""
    out = list(HAND)
    for index, (kind, count) in enumerate(KINDS):
        rng = random.Random(1_000 + index)
        out += [unicodedata.normalize("NFC", kind(rng)) for _ in range(count)]
    return out


def unnormalised():
    """Strings for tokenizers that normalise: most of them are not in normalisation form C."""
    rng = random.Random(2_000)
    out = [text for text in HAND if unicodedata.normalize("NFC", text) != text]
    for kind in [combining, any_characters, mixed]:
        out += [unicodedata.normalize(rng.choice(["NFD", "NFD", "NFKD"]), kind(rng)) if rng.random() < 0.6 else kind(rng) for _ in range(80)]
    return out


def escape(text):
    """One line of printable characters: backslash, and \\u{HEX} for whatever a text tool could harm."""
    return "".join("\\\\" if c == "\\" else c if c == " " or (c.isprintable() and unicodedata.category(c)[0] in "LNPS") else "\\u{%x}" % ord(c) for c in text)
