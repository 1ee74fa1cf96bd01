#include "model/numerics_id.h"

#include "config/mix.h"

namespace troupe {

NumericsId& NumericsId::add(uint64_t number) {
  hash_ = mix64(hash_, number);
  return *this;
}

NumericsId& NumericsId::add(std::string_view text) {
  add(text.size());
  for (char c : text) add(static_cast<uint64_t>(static_cast<unsigned char>(c)));
  return *this;
}

NumericsId& NumericsId::add(const Digest& digest) {
  for (uint8_t byte : digest) add(uint64_t{byte});
  return *this;
}

Digest NumericsId::finish() const {
  Digest digest{};
  for (size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<uint8_t>(mix64(hash_, i / 8) >> (i % 8 * 8));
  return digest;
}

std::string numerics_text(const Digest& numerics_id) {
  return "numerics " + to_hex(numerics_id).substr(0, 8);
}

}  // namespace troupe
