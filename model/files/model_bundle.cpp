#include "model/model_bundle.h"

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "config/digest.h"
#include "config/limits.h"
#include "model/byte_cursor.h"

namespace troupe {

namespace {

constexpr uint32_t kMagic = 0x4c444254;  // "TBDL"
constexpr uint32_t kVersion = 1;         // raise with any change of the fields below

// One `visit` per struct names its fields once; Writer and BundleReader walk them, so the two can't
// drift apart.

template <class Archive, class Rope>
requires std::is_same_v<std::remove_const_t<Rope>, RopeSpec>
void visit(Archive& a, Rope& r) {
  a(r.base), a(r.scaling), a(r.factor), a(r.low_freq_factor), a(r.high_freq_factor);
  a(r.original_context), a(r.pairs), a(r.has_freq_divisors);
}

template <class Archive, class Spec>
requires std::is_same_v<std::remove_const_t<Spec>, ModelSpec>
void visit(Archive& a, Spec& s) {
  a(s.architecture), a(s.n_layers), a(s.hidden), a(s.ffn), a(s.n_heads), a(s.n_kv_heads);
  a(s.head_dim), a(s.vocab), a(s.context), a(s.rms_eps), a(s.rope), a(s.qkv_bias), a(s.o_bias);
  a(s.mlp_bias), a(s.qk_norm), a(s.tied_embeddings), a(s.sliding_window);
}

template <class Archive, class Token>
requires std::is_same_v<std::remove_const_t<Token>, TokenEntry>
void visit(Archive& a, Token& t) { a(t.text), a(t.type), a(t.score); }

template <class Archive, class Token>
requires std::is_same_v<std::remove_const_t<Token>, AddedToken>
void visit(Archive& a, Token& t) {
  a(t.id), a(t.text), a(t.special), a(t.lstrip), a(t.rstrip), a(t.single_word), a(t.normalized);
}

template <class Archive, class Pair>
requires std::is_same_v<std::remove_const_t<Pair>, std::pair<std::string, std::string>>
void visit(Archive& a, Pair& p) { a(p.first), a(p.second); }

template <class Archive, class Spec>
requires std::is_same_v<std::remove_const_t<Spec>, TokenizerSpec>
void visit(Archive& a, Spec& s) {
  a(s.kind), a(s.pre), a(s.pre_split), a(s.nfc), a(s.ignore_merges), a(s.byte_fallback);
  a(s.add_space_prefix), a(s.space_prefix_once), a(s.merges_by_rank), a(s.tokens), a(s.merges),
      a(s.added), a(s.bos);
  a(s.eos), a(s.unk), a(s.pad), a(s.add_bos), a(s.add_eos), a(s.end_of_generation);
}

template <class Archive, class Bundle>
requires std::is_same_v<std::remove_const_t<Bundle>, ModelBundle>
void visit(Archive& a, Bundle& b) {
  a(b.manifest.weights_id), a(b.manifest.tokenizer_id), a(b.manifest.template_id);
  a(b.manifest.spec_id), a(b.spec), a(b.tokenizer), a(b.chat_template);
}

class Writer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      raw(static_cast<uint8_t>(value));
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      raw(value);
    } else {
      visit(*this, value);
    }
  }
  void operator()(const std::string& text) {
    raw(static_cast<uint64_t>(text.size()));
    append(std::as_bytes(std::span(text)));
  }
  void operator()(const Digest& digest) { append(std::as_bytes(std::span(digest))); }
  void operator()(const TokenId& id) { raw(id.value); }
  void operator()(const std::optional<TokenId>& id) { raw(id ? id->value : -1); }
  template <class T>
  void operator()(const std::vector<T>& items) {
    raw(static_cast<uint64_t>(items.size()));
    for (const T& item : items) (*this)(item);
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
  }
  template <class T>
  void raw(T value) {
    static_assert(std::endian::native == std::endian::little);
    append(std::as_bytes(std::span(&value, 1)));
  }

  std::vector<std::byte> bytes_;
};

/// Values of an enum are 0..last.
template <class T>
constexpr uint8_t kLast = 0;
template <>
constexpr uint8_t kLast<RopeScaling> = static_cast<uint8_t>(RopeScaling::llama3);
template <>
constexpr uint8_t kLast<RopePairs> = static_cast<uint8_t>(RopePairs::adjacent);
template <>
constexpr uint8_t kLast<TokenizerKind> = static_cast<uint8_t>(TokenizerKind::oracle);
template <>
constexpr uint8_t kLast<TokenType> = static_cast<uint8_t>(TokenType::byte);

/// After the first bad byte every further read is a no-op and good() is false.
class BundleReader {
 public:
  explicit BundleReader(std::span<const std::byte> bytes) : cursor_(bytes) {}
  bool good() const { return good_; }
  bool at_end() const { return good_ && cursor_.left() == 0; }

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = raw<uint8_t>(1) == 1;
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(raw<uint8_t>(kLast<T>));
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = raw<T>();
    } else {
      visit(*this, value);
    }
  }
  void operator()(std::string& text) {
    const auto size = raw<uint64_t>();
    const auto found = good_ ? cursor_.take_text(size) : std::nullopt;
    good_ = found.has_value();
    if (found) text = *found;
  }
  void operator()(Digest& digest) {
    const auto found = good_ ? cursor_.take_bytes(digest.size()) : std::nullopt;
    good_ = found.has_value();
    if (found) std::memcpy(digest.data(), found->data(), digest.size());
  }
  void operator()(TokenId& id) { id.value = raw<int32_t>(); }
  void operator()(std::optional<TokenId>& id) {
    const auto value = raw<int32_t>();
    id = value < 0 ? std::nullopt : std::optional(TokenId(value));
  }
  template <class T>
  void operator()(std::vector<T>& items) {
    const auto count = raw<uint64_t>();
    // Nothing is reserved for a claimed count: memory grows only with bytes that were there.
    for (uint64_t i = 0; i < count && good_; ++i) (*this)(items.emplace_back());
  }

 private:
  template <class T>
  T raw() {
    const auto found = good_ ? cursor_.take<T>() : std::nullopt;
    good_ = found.has_value();
    return found.value_or(T{});
  }
  template <class T>
  T raw(T last) {
    const T value = raw<T>();
    good_ = good_ && value <= last;
    return value;
  }

  ByteCursor cursor_;
  bool good_ = true;
};

template <class T>
Digest digest_of(const T& value) {
  Writer writer;
  writer(value);
  return sha256(writer.take());
}

/// Ids that a tokenizer would index with.
bool ids_in_range(const TokenizerSpec& spec) {
  const auto in_range = [&](TokenId id) {
    return id.value >= 0 && static_cast<size_t>(id.value) < spec.tokens.size();
  };
  for (const auto& id : {spec.bos, spec.eos, spec.unk, spec.pad})
    if (id && !in_range(*id)) return false;
  for (const AddedToken& added : spec.added)
    if (!in_range(added.id)) return false;
  for (TokenId id : spec.end_of_generation)
    if (!in_range(id)) return false;
  return true;
}

}  // namespace

void identify(ModelBundle& bundle) {
  bundle.manifest.tokenizer_id = digest_of(bundle.tokenizer);
  bundle.manifest.template_id = sha256(bundle.chat_template);
  bundle.manifest.spec_id = digest_of(bundle.spec);
}

std::vector<std::byte> encode_bundle(const ModelBundle& bundle) {
  Writer writer;
  writer(kMagic), writer(kVersion), writer(bundle);
  return writer.take();
}

Result<ModelBundle> decode_bundle(std::span<const std::byte> bytes) {
  if (bytes.size() > kBundleBytesMax)
    return fail(ErrorCode::too_large, "The model bundle has " + std::to_string(bytes.size()) +
                                          " bytes, the limit is " +
                                          std::to_string(kBundleBytesMax) + ".");
  BundleReader reader(bytes);
  uint32_t magic = 0, version = 0;
  reader(magic), reader(version);
  if (!reader.good() || magic != kMagic)
    return fail(ErrorCode::data_loss,
                "These bytes are not a model bundle; the sender must send it again.");
  if (version != kVersion)
    return fail(ErrorCode::unsupported, "The model bundle has format version " +
                                            std::to_string(version) + ", this build reads " +
                                            std::to_string(kVersion) +
                                            "; run the same build on all nodes.");
  ModelBundle bundle;
  reader(bundle);
  if (!reader.at_end() || !ids_in_range(bundle.tokenizer))
    return fail(ErrorCode::data_loss,
                "The model bundle is damaged; the sender must send it again.");
  return bundle;
}

}  // namespace troupe
