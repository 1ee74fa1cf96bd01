#include "net/api_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "config/digest.h"
#include "net/http_message.h"

namespace troupe {
namespace {

constexpr size_t kKeysFileBytesMax = 1 << 20;

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace

Result<ApiKeys> ApiKeys::parse(std::string_view text, std::string_view path) {
  ApiKeys keys;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    auto wrong = [&](std::string_view what) {
      return fail(ErrorCode::invalid_argument, fmt::format("{}:{}: {}", path, number, what));
    };
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) return wrong("expected name:role:sha256hex");
    Entry entry;
    entry.tenant.name = std::string(line.substr(0, first));
    if (!good_name(entry.tenant.name))
      return wrong("the name may have 1 to 64 of A-Z a-z 0-9 . _ -");
    const std::string_view role = line.substr(first + 1, second - first - 1);
    if (role != "user" && role != "admin") return wrong("the role must be user or admin");
    entry.tenant.role = role == "admin" ? ApiRole::admin : ApiRole::user;
    const auto digest = digest_from_hex(line.substr(second + 1));
    if (!digest) return wrong("the last field must be the SHA-256 of the key, 64 hex digits");
    entry.digest = *digest;
    keys.entries_.push_back(std::move(entry));
  }
  if (keys.entries_.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: holds no key: add a line name:role:sha256hex", path));
  return keys;
}

Result<ApiKeys> ApiKeys::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kKeysFileBytesMax + 1, '\0');
  if (!file)
    return fail(ErrorCode::not_found, fmt::format("{}: cannot be read: check api_keys_file", path));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kKeysFileBytesMax)
    return fail(ErrorCode::too_large,
                fmt::format("{}: is larger than 1 MiB: check api_keys_file", path));
  return parse(text, path);
}

std::optional<Tenant> ApiKeys::find(std::string_view key) const {
  const Digest digest = sha256(key);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_)
    if (equal_constant_time(std::as_bytes(std::span(entry.digest)),
                            std::as_bytes(std::span(digest))))
      found = &entry;
  if (!found) return std::nullopt;
  return found->tenant;
}

std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size() ||
      !equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme))
    return {};
  return authorization.substr(kScheme.size());
}

Salt tenant_salt(const Salt& root, std::string_view tenant) {
  const Digest digest =
      hmac_sha256(std::as_bytes(std::span(root)), std::as_bytes(std::span(tenant)));
  Salt salt{};
  std::copy_n(digest.begin(), salt.size(), salt.begin());
  return salt;
}

}  // namespace troupe
