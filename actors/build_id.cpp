#include "actors/build_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>

#include "config/version.h"

namespace troupe {

namespace {

/// The NT_GNU_BUILD_ID note of the main program, as hex; empty if it was linked without one.
int read_note(dl_phdr_info* info, size_t, void* out) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const char* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    const char* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const char* name = at + sizeof *note;
      const char* data = name + ((note->n_namesz + 3) & ~3u);
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0) {
        auto& text = *static_cast<std::string*>(out);
        static constexpr char kHex[] = "0123456789abcdef";
        for (uint32_t b = 0; b < note->n_descsz && b < 8; ++b) {
          const auto byte = static_cast<unsigned char>(data[b]);
          text += kHex[byte >> 4];
          text += kHex[byte & 15];
        }
        return 1;
      }
      at = data + ((note->n_descsz + 3) & ~3u);
    }
  }
  return 1;  // the first entry is the main program; no other is of interest
}

}  // namespace

std::string build_id() {
  std::string note;
  ::dl_iterate_phdr(&read_note, &note);
  return std::string(kVersion) + (note.empty() ? "" : "-" + note);
}

}  // namespace troupe
