#include "model/text_stream.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "model/tokenizer.h"

namespace troupe {
namespace text_stream_test {
namespace {

std::shared_ptr<const Tokenizer> oracle() {
  static const auto tokenizer = Tokenizer::make(oracle_tokenizer_spec()).value();
  return tokenizer;
}

TokenId byte_token(char c) { return TokenId(c == 0 ? 256 : static_cast<uint8_t>(c)); }

/// A vocabulary with a token for each of these texts, so that a test can cut text as it likes.
class Cuts {
 public:
  explicit Cuts(const std::vector<std::string>& texts) {
    TokenizerSpec spec = oracle_tokenizer_spec();
    spec.tokens.resize(257);
    for (const auto& text : texts)
      if (ids_.try_emplace(text, static_cast<int32_t>(spec.tokens.size())).second)
        spec.tokens.push_back({text});
    tokenizer_ = Tokenizer::make(std::move(spec)).value();
  }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  TokenId operator[](const std::string& text) const { return ids_.at(text); }

 private:
  std::map<std::string, TokenId> ids_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

struct Shown {
  std::string text;
  bool stopped = false;
};

Shown run(const Cuts& cuts, const std::vector<std::string>& tokens,
          const std::vector<std::string>& stops) {
  TextStream stream(cuts.tokenizer(), stops);
  Shown shown;
  for (const std::string& token : tokens) {
    const auto piece = stream.push(cuts[token]);
    shown.text += piece.text;
    shown.stopped = piece.stopped;
    CHECK(stream.shown_bytes() == shown.text.size());
  }
  shown.text += stream.finish();
  shown.stopped = stream.stopped();
  CHECK(stream.shown_bytes() == shown.text.size());
  return shown;
}

Shown run(const std::vector<std::string>& tokens, const std::vector<std::string>& stops) {
  return run(Cuts(tokens), tokens, stops);
}

TEST_CASE("text stream: no piece ends inside a character") {
  const std::string text = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x91\xA9z";
  TextStream stream(oracle(), {});
  std::vector<std::string> pieces;
  for (const char c : text)
    if (auto piece = stream.push(byte_token(c)); !piece.text.empty()) pieces.push_back(piece.text);
  CHECK(pieces ==
        std::vector<std::string>{"a", "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x91\xA9", "z"});
  CHECK(stream.finish().empty());
}

TEST_CASE("text stream: an unfinished character becomes U+FFFD at the end, a broken one at once") {
  TextStream stream(oracle(), {});
  CHECK(stream.push(byte_token('\xE4')).text.empty());
  CHECK(stream.push(byte_token('\xBD')).text.empty());
  CHECK(stream.push(byte_token('x')).text == "\xEF\xBF\xBDx");
  CHECK(stream.push(byte_token('\xFF')).text == "\xEF\xBF\xBD");
  CHECK(stream.push(byte_token('\xF0')).text.empty());
  CHECK(stream.finish() == "\xEF\xBF\xBD");
}

TEST_CASE("text stream: a stop string is found at every split of the text into three tokens") {
  const std::string text =
      "hello \xE4\xBD\xA0STOP\xC3\xA9"
      "ver more";
  std::vector<std::string> parts;
  for (size_t i = 0; i <= text.size(); ++i)
    for (size_t j = i; j <= text.size(); ++j) parts.push_back(text.substr(i, j - i));
  const Cuts cuts(parts);
  for (const std::string stop : {"STOP", "\xE4\xBD\xA0S", "STOP\xC3\xA9", "lo ", "h"}) {
    const std::string expected = text.substr(0, text.find(stop));
    for (size_t i = 0; i <= text.size(); ++i)
      for (size_t j = i; j <= text.size(); ++j) {
        const Shown shown =
            run(cuts, {text.substr(0, i), text.substr(i, j - i), text.substr(j)}, {stop});
        CAPTURE(stop);
        CAPTURE(i);
        CAPTURE(j);
        CHECK(shown.stopped);
        CHECK(shown.text == expected);
      }
  }
}

TEST_CASE("text stream: text that only begins like a stop string is shown in the end") {
  TextStream stream(oracle(), {"</s>", "<end>"});
  std::string shown;
  for (const char c : std::string_view("a</b</")) shown += stream.push(byte_token(c)).text;
  CHECK(shown == "a</b");  // "</" may still become a stop string
  CHECK(stream.finish() == "</");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("text stream: what could be a stop string is never shown before it is decided") {
  TextStream stream(oracle(), {"abab!"});
  CHECK(stream.push(byte_token('a')).text.empty());
  CHECK(stream.push(byte_token('b')).text.empty());
  CHECK(stream.push(byte_token('a')).text.empty());
  CHECK(stream.push(byte_token('b')).text.empty());
  CHECK(stream.push(byte_token('a')).text == "ab");  // "aba" is still open
  CHECK(stream.push(byte_token('b')).text.empty());
  const auto last = stream.push(byte_token('!'));
  CHECK(last.text.empty());
  CHECK(last.stopped);
  CHECK(stream.push(byte_token('x')).text.empty());
  CHECK(stream.push(byte_token('x')).stopped);
  CHECK(stream.finish().empty());
}

TEST_CASE("text stream: the stop string that is complete first wins, however the text is cut") {
  CHECK(run({"xabcy"}, {"abcy", "bc"}).text == "xa");
  CHECK(run({"xab", "cy"}, {"abcy", "bc"}).text == "xa");
  CHECK(run({"xabc"}, {"bc", "abc"}).text == "x");  // both end at the same place: the longer one
  CHECK(run({"x", "a", "b", "c"}, {"bc", "abc"}).text == "x");
}

TEST_CASE(
    "text stream: the end of an answer may complete a stop string of replacement characters") {
  const Shown shown = run({"ok\xE4"}, {"\xEF\xBF\xBD"});
  CHECK(shown.text == "ok");
  CHECK(shown.stopped);
}

TEST_CASE("text stream: any cut of any bytes shows the same text and holds back a bounded amount") {
  const uint64_t seed = 20'240'917;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::vector<std::string> alphabet = {"a",    "b",    "ab",       "<",    "</s>",
                                             "\xC3", "\xA9", "\xE4\xBD", "\xA0", "\xFF"};
  struct Round {
    std::vector<std::string> stops;
    std::string text;
  };
  std::vector<Round> rounds(2'000);
  std::vector<std::string> texts;
  for (auto& [stops, text] : rounds) {
    for (size_t n = random() % 3; n > 0; --n) {
      std::string stop;
      for (size_t k = 1 + random() % 3; k > 0; --k) stop += alphabet[random() % 6];
      stops.push_back(stop);
    }
    for (size_t n = random() % 12; n > 0; --n) text += alphabet[random() % alphabet.size()];
    texts.push_back(text);
  }
  const Cuts cuts(texts);
  for (const auto& [stops, text] : rounds) {
    const Shown whole = run(cuts, {text}, stops);
    TextStream stream(oracle(), stops);
    std::string shown;
    for (const char c : text) shown += stream.push(byte_token(c)).text;
    shown += stream.finish();
    CHECK(shown == whole.text);
    CHECK(stream.stopped() == whole.stopped);
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(byte_token(c));
    const std::string all = oracle()->decode(ids);
    CHECK(all.starts_with(whole.text));
    if (!whole.stopped) CHECK(all == whole.text);
  }
}

}  // namespace
}  // namespace text_stream_test
}  // namespace troupe
