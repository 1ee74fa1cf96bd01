#include "net/answer_template.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

namespace troupe {
namespace {

enum class HoleKind : uint32_t { id, created, usage, timings };

/// `length` bytes at `at` of the text give way to something fresh.
struct Hole {
  uint32_t at = 0, length = 0;
  HoleKind kind{};
};

struct Header {
  uint32_t magic = 0, holes = 0, ending = 0;
  int32_t prompt_tokens = 0, generated_tokens = 0;
};
constexpr uint32_t kTemplateMagic = 0x31415254;  // "TRA1"

/// The holes of `body` in order, or nothing if it does not look as our own writers make it. Text of
/// models and clients is inside JSON strings, where a quote is escaped: it cannot look like a key.
std::vector<Hole> find_holes(std::string_view body, const std::string& id) {
  std::vector<Hole> holes;
  auto add = [&](size_t at, size_t length, HoleKind kind) {
    holes.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), kind});
  };
  auto object_at = [&](std::string_view key, HoleKind kind, std::string_view end) {
    const size_t found = body.rfind(key);
    if (found == std::string_view::npos) return false;
    const size_t at = found + key.size() - 1;
    const size_t last = body.find(end, at);
    if (last == std::string_view::npos) return false;
    add(at, last + end.size() - at, kind);
    return true;
  };
  constexpr std::string_view kCreated = "\"created\":";
  for (size_t at = body.find(id); at != std::string_view::npos; at = body.find(id, at)) {
    add(at, id.size(), HoleKind::id);
    at += id.size();
    // ","object":"...","created":N follows at once, but not in /v1/inference.
    const size_t created = body.find(kCreated, at);
    if (created == std::string_view::npos || created - at > 64) continue;
    const size_t number = created + kCreated.size();
    const size_t end = body.find_first_not_of("0123456789", number);
    if (end == std::string_view::npos || end == number) return {};
    add(number, end - number, HoleKind::created);
  }
  if (holes.empty() || !object_at("\"timings\":{", HoleKind::timings, "}")) return {};
  object_at("\"usage\":{", HoleKind::usage, "}}");
  std::ranges::sort(holes, {}, &Hole::at);
  return holes;
}

void append_number(std::string& out, int64_t value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

}  // namespace

std::optional<CachedBytes> make_answer_template(std::string_view body, RequestId id, Finish ending,
                                                const Timings& timings) {
  if (body.size() > static_cast<size_t>(kCachedResponseBytesMax)) return std::nullopt;
  const std::vector<Hole> holes = find_holes(body, to_string(id));
  if (holes.empty()) return std::nullopt;
  const Header header{kTemplateMagic, static_cast<uint32_t>(holes.size()),
                      static_cast<uint32_t>(ending), timings.prompt_tokens,
                      timings.generated_tokens};
  CachedBytes out(sizeof header + holes.size() * sizeof(Hole) + body.size());
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + sizeof header, holes.data(), holes.size() * sizeof(Hole));
  std::memcpy(out.data() + out.size() - body.size(), body.data(), body.size());
  return out;
}

Result<AnswerTemplate> AnswerTemplate::open(const CachedBytes& bytes) {
  const auto damaged = [] {
    return fail(ErrorCode::data_loss, "A kept answer was damaged: it is computed anew.");
  };
  Header header;
  if (bytes.size() < sizeof header) return damaged();
  std::memcpy(&header, bytes.data(), sizeof header);
  const uint64_t holes_size = uint64_t{header.holes} * sizeof(Hole);
  if (header.magic != kTemplateMagic || holes_size > bytes.size() - sizeof header ||
      header.ending > static_cast<uint32_t>(Finish::cancelled))
    return damaged();
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  AnswerTemplate out;
  out.holes_ = all.substr(sizeof header, holes_size);
  out.text_ = all.substr(sizeof header + holes_size);
  out.ending_ = static_cast<Finish>(header.ending);
  out.prompt_tokens_ = header.prompt_tokens;
  out.generated_tokens_ = header.generated_tokens;
  size_t from = 0;
  for (size_t i = 0; i < header.holes; ++i) {
    Hole hole;
    std::memcpy(&hole, out.holes_.data() + i * sizeof hole, sizeof hole);
    if (hole.at < from || hole.at > out.text_.size() || hole.length > out.text_.size() - hole.at ||
        hole.kind > HoleKind::timings)
      return damaged();
    from = size_t{hole.at} + hole.length;
  }
  return out;
}

Timings AnswerTemplate::timings() const {
  Timings out;
  out.prompt_tokens = prompt_tokens_;
  out.generated_tokens = generated_tokens_;
  return out;
}

std::string AnswerTemplate::render(RequestId id, int64_t created, const Timings& timings) const {
  const std::string id_text = to_string(id);
  std::string out;
  out.reserve(text_.size() + 128);
  size_t from = 0;
  for (size_t i = 0; i < holes_.size(); i += sizeof(Hole)) {
    Hole hole;
    std::memcpy(&hole, holes_.data() + i, sizeof hole);
    out += text_.substr(from, hole.at - from);
    from = size_t{hole.at} + hole.length;
    switch (hole.kind) {
      case HoleKind::id:
        out += id_text;
        break;
      case HoleKind::created:
        append_number(out, created);
        break;
      case HoleKind::usage:
        append_usage(out, timings);
        break;
      case HoleKind::timings:
        append_timings(out, timings);
        break;
    }
  }
  out += text_.substr(from);
  return out;
}

}  // namespace troupe
