// A node's file store for tests, over sockets of its own folder; pairs of them, and a peer that the
// test plays.
#pragma once

#include "net/file_store.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>

#include "config/digest.h"
#include "net/file_frame.h"
#include "tests/link/link_fixture.h"

namespace troupe::testing {

namespace fs = std::filesystem;

inline void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// More than a chunk and no whole number of them.
inline std::string model_bytes(uint64_t seed = 7) {
  return random_bytes(2 * kFileChunkBytesMax + 12'345, seed);
}

/// A node's store, and what it said.
class Store {
 public:
  struct Options {
    std::vector<FileDoor> doors;
    int64_t bytes_max = kModelFileBytesMax, bytes_per_second = 1'000 * kMiB;
  };
  Store(const TempDir& dir, const std::string& node, const Digest& digest, Options options)
      : dir_(dir), node_(node), digest_(digest), options_(std::move(options)) {
    start();
  }
  Store(const TempDir& dir, const std::string& node, const Digest& digest)
      : Store(dir, node, digest, Options()) {}

  /// Also as another life of the process.
  void start() {
    store_.reset();
    FileStoreConfig config;
    config.ways = {socket(), options_.doors};
    config.folder = folder();
    config.files = {{digest_, source()}};
    config.bytes_max = options_.bytes_max;
    config.bytes_per_second = options_.bytes_per_second;
    config.waits = [this](const Digest&, const std::string& what) {
      const std::lock_guard lock(mutex_);
      waits_ += what + "\n";
    };
    config.warned = [this](const std::string& what) {
      const std::lock_guard lock(mutex_);
      warned_ += what + "\n";
    };
    auto started = FileStore::start(std::move(config));
    REQUIRE_MESSAGE(started.has_value(), (started ? std::string() : started.error().message));
    store_ = std::move(*started);
  }
  void stop() { store_.reset(); }

  void want() {
    {
      const std::lock_guard lock(mutex_);
      got_.reset();
    }
    store_->want(digest_, [this](Result<std::string> path) {
      const std::lock_guard lock(mutex_);
      CHECK_FALSE(got_.has_value());
      got_ = std::move(path);
    });
  }
  /// Where the file is, once it may be used.
  std::string path() {
    REQUIRE(wait_until([&] { return got().has_value(); }));
    const auto outcome = *got();
    REQUIRE_MESSAGE(outcome.has_value(), (outcome ? std::string() : outcome.error().message));
    return *outcome;
  }
  std::optional<Result<std::string>> got() const {
    const std::lock_guard lock(mutex_);
    return got_;
  }
  bool says(const std::string& what) const {
    return wait_until([&] {
      const std::lock_guard lock(mutex_);
      return waits_.find(what) != std::string::npos;
    });
  }
  std::string warned() const {
    const std::lock_guard lock(mutex_);
    return warned_;
  }
  FileStore& operator*() const { return *store_; }
  FileStore* operator->() const { return store_.get(); }

  std::string source() const { return dir_ / (node_ + ".gguf"); }
  std::string socket() const { return dir_ / (node_ + ".sock"); }
  std::string folder() const { return dir_ / (node_ + "-models"); }
  std::string copy() const { return folder() + "/" + to_hex(digest_) + ".gguf"; }
  std::string part() const { return folder() + "/" + to_hex(digest_) + ".part"; }

 private:
  const TempDir& dir_;
  std::string node_;
  Digest digest_;
  Options options_;
  mutable std::mutex mutex_;  ///< guards the three below
  std::string waits_, warned_;
  std::optional<Result<std::string>> got_;
  std::unique_ptr<FileStore> store_;
};

/// n1 has the file, n2 fetches it without a link between them.
struct Pair {
  TempDir dir;
  std::string bytes = model_bytes();
  Digest digest = sha256(bytes);
  Store n1{dir, "n1", digest};
  Store n2{dir, "n2", digest, {.doors = {{"n1", n1.socket()}}}};
  Pair() { write_file(n1.source(), bytes); }
};

/// The test plays n1, behind whose door n2 asks.
struct Played {
  TempDir dir;
  std::string bytes = model_bytes();
  Digest digest = sha256(bytes);
  Target n1{dir / "n1.sock"};
  Store n2{dir, "n2", digest, {.doors = {{"n1", n1.path()}}}};

  Socket asked(uint64_t from = 0) {
    Socket caller = n1.accept();
    const auto request = encode_file_request({digest, from});
    CHECK(caller.read(kFileRequestBytes) == text(request));
    return caller;
  }
  static std::string yes(uint64_t size) {
    return std::string(text(encode_file_answer({std::nullopt, size})));
  }
  static std::string chunk(std::string_view part) {
    return std::string(text(encode_file_chunk_head(static_cast<uint32_t>(part.size())))) +
           std::string(part);
  }
  /// The rest of the file from there, as a peer that has `all` sends it.
  static std::string rest(const std::string& all, uint64_t from) {
    std::string out = yes(all.size());
    for (uint64_t at = from; at < all.size(); at += kFileChunkBytesMax)
      out += chunk(std::string_view(all).substr(at, kFileChunkBytesMax));
    return out;
  }
};

/// As another node asks.
inline std::string ask(const Store& store, const Digest& digest, uint64_t from = 0) {
  Socket caller = Socket::to_unix(store.socket());
  REQUIRE(caller.connected());
  REQUIRE(caller.send(text(encode_file_request({digest, from}))));
  return caller.read(100 * kMiB);
}

inline std::string no(FileRefusal why) { return std::string(text(encode_file_answer({why, 0}))); }

}  // namespace troupe::testing
