#include "model/files/weights_id_memory.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "config/digest.h"
#include "config/limits.h"

namespace troupe {
namespace weights_id_memory_test {
namespace {

/// A folder of this test, gone with it, and the memory's file one folder deeper.
struct Place {
  Place() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-ids-XXXXXX").string();
    folder = ::mkdtemp(name.data());
    file = folder + "/troupe/weights-ids";
  }
  ~Place() { std::filesystem::remove_all(folder); }
  std::string text() const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string folder, file;
};

/// The facts of a file that has rested since 2001.
FileFacts rested(uint64_t inode) {
  constexpr int64_t kThen = 1'000'000'000'000'000'000;
  return {7, inode, 98'362'432, kThen + 1, kThen + 2};
}

std::vector<FileFacts> one(uint64_t inode) { return {rested(inode)}; }

TEST_CASE("weights id memory: an id comes back for exactly the same files, and for no others") {
  const Place place;
  const WeightsIdMemory memory(place.file);
  const std::vector<FileFacts> files{rested(1), rested(2)};
  CHECK(memory.recall(files) == std::nullopt);
  memory.remember(files, sha256("weights"));
  CHECK(WeightsIdMemory(place.file).recall(files) == sha256("weights"));

  std::vector<std::vector<FileFacts>> others{{files[0]}, {files[1], files[0]}, {}};
  for (auto change : std::vector<void (*)(FileFacts&)>{
           [](FileFacts& f) { ++f.device; }, [](FileFacts& f) { ++f.inode; },
           [](FileFacts& f) { ++f.size; }, [](FileFacts& f) { ++f.modified_ns; },
           [](FileFacts& f) { ++f.changed_ns; }}) {
    others.push_back(files);
    change(others.back()[1]);
  }
  for (const auto& other : others) CHECK(memory.recall(other) == std::nullopt);

  memory.remember(files, sha256("other"));
  CHECK(memory.recall(files) == sha256("other"));
}

TEST_CASE("weights id memory: a file that changed a moment ago is not remembered") {
  const Place place;
  const WeightsIdMemory memory(place.file);
  std::filesystem::create_directory(place.folder + "/troupe");
  const std::string model = place.folder + "/model";
  std::ofstream(model) << "bytes";
  const auto mapped = MappedFile::open(model, 100);
  REQUIRE(mapped);
  const std::vector<FileFacts> fresh{(*mapped)->facts()};
  CHECK(fresh[0].size == 5);
  memory.remember(fresh, sha256("weights"));
  CHECK(memory.recall(fresh) == std::nullopt);
  // Setting mtime back, as copying tools do, does not make it older.
  std::vector<FileFacts> set_back = fresh;
  set_back[0].modified_ns = rested(1).modified_ns;
  memory.remember(set_back, sha256("weights"));
  CHECK(memory.recall(set_back) == std::nullopt);
}

TEST_CASE("weights id memory: the oldest entry makes room") {
  const Place place;
  const WeightsIdMemory memory(place.file);
  for (uint64_t i = 0; i <= kWeightsIdsMax; ++i) memory.remember(one(i), sha256(std::to_string(i)));
  CHECK(memory.recall(one(0)) == std::nullopt);
  for (uint64_t i = 1; i <= kWeightsIdsMax; ++i)
    CHECK(memory.recall(one(i)) == sha256(std::to_string(i)));
}

TEST_CASE("weights id memory: it is private, and a memory that others can touch is not believed") {
  const Place place;
  const WeightsIdMemory memory(place.file);
  memory.remember(one(1), sha256("weights"));
  struct stat status {};
  REQUIRE(::stat(place.file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  REQUIRE(::stat((place.folder + "/troupe").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
  for (mode_t mode : {mode_t{0640}, mode_t{0602}}) {
    ::chmod(place.file.c_str(), mode);
    CHECK(memory.recall(one(1)) == std::nullopt);
  }
  ::chmod(place.file.c_str(), 0600);
  CHECK(memory.recall(one(1)) == sha256("weights"));
  std::filesystem::rename(place.file, place.folder + "/elsewhere");
  std::filesystem::create_symlink(place.folder + "/elsewhere", place.file);
  CHECK(memory.recall(one(1)) == std::nullopt);
}

TEST_CASE("weights id memory: no damage turns one id into another") {
  const Place place;
  const WeightsIdMemory memory(place.file);
  memory.remember(one(1), sha256("a"));
  memory.remember(one(2), sha256("b"));
  const std::string good = place.text();
  const auto expect_true_or_none = [&](const std::string& damaged) {
    std::ofstream(place.file, std::ios::binary | std::ios::trunc) << damaged;
    const auto a = memory.recall(one(1)), b = memory.recall(one(2));
    CHECK((!a || *a == sha256("a")));
    CHECK((!b || *b == sha256("b")));
    return !a || !b;
  };
  for (size_t at = 0; at < good.size(); at += 5) {
    CAPTURE(at);
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] == '0' ? '1' : '0');
    expect_true_or_none(damaged);
    CHECK(expect_true_or_none(good.substr(0, at)));
  }
  CHECK(expect_true_or_none(std::string(100'000, 'f')));
  CHECK(!expect_true_or_none(good));
}

TEST_CASE("weights id memory: no place to remember is no failure") {
  const WeightsIdMemory none(""), impossible("/proc/nowhere/ids");
  for (const auto* memory : {&none, &impossible}) {
    memory->remember(one(1), sha256("weights"));
    CHECK(memory->recall(one(1)) == std::nullopt);
  }
}

}  // namespace
}  // namespace weights_id_memory_test
}  // namespace troupe
