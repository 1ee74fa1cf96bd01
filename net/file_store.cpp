#include "net/file_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "config/check.h"
#include "net/clock.h"
#include "net/file_receiver.h"
#include "net/unix_socket.h"

namespace troupe {

namespace {

using Waiting = std::function<void(Result<std::string>)>;

/// One file: its machine, and what the machine has under way.
struct Kept {
  StoredFile file;
  FileFetch machine;
  std::unique_ptr<FileReceiver> receiver;
  std::optional<FileHash> hash;
  FilePlace hashed{};
  uint64_t received = 0;  ///< how far the part was when that was last counted
  std::vector<Waiting> waiting;
  std::deque<FetchInput> inputs;  ///< answers to the machine's effects, for its next steps
};

class FileLoop final : public FileStore {
 public:
  FileLoop(FileStoreConfig config, int listener)
      : config_(std::move(config)),
        checked_(config_.folder + "/digests"),
        sender_(config_.bytes_per_second, [this](const Digest& digest) { return find(digest); }),
        listener_(listener),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    TROUPE_CHECK(wake_.get() >= 0, errno);
    std::vector<std::string> peers;
    for (const FileDoor& door : config_.ways.doors) peers.push_back(door.node);
    for (const StoredFile& file : config_.files)
      kept_.push_back({file,
                       FileFetch({file.digest, file.source, peers, config_.bytes_max}),
                       {},
                       {},
                       {},
                       0,
                       {},
                       {}});
    thread_ = std::thread([this] { run(); });
  }

  ~FileLoop() override {
    stopping_.store(true);
    wake();
    thread_.join();
    ended_ = true;
    take_wanted(steady_now());
    if (!config_.ways.socket.empty()) ::unlink(config_.ways.socket.c_str());
  }

  void want(const Digest& digest, Waiting done) override {
    const auto kept = std::ranges::find(config_.files, digest, &StoredFile::digest);
    TROUPE_CHECK(kept != config_.files.end(), to_hex(digest));
    {
      const std::lock_guard lock(mutex_);
      wanted_.emplace_back(kept - config_.files.begin(), std::move(done));
    }
    wake();
  }

  void end_waiting() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    wake();
  }

  FileStoreStats stats() const override {
    const std::lock_guard lock(mutex_);
    return published_;
  }

 private:
  void run();
  void wake() {
    const uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  void take_wanted(Time now);
  void end_now();
  int timeout(Time now) const;
  void accept(Time now);
  std::expected<OpenFile, FileRefusal> find(const Digest& digest);
  std::string path(const Kept& kept, FilePlace place) const;
  void feed(Time now, Kept& kept, FetchInput input);
  void perform(Time now, Kept& kept, const FetchEffect& effect);
  void look(Kept& kept, FilePlace place);
  void ask(Kept& kept, const std::string& peer);
  FetchInput keep(Time now, const Kept& kept);
  void receive(Time now, Kept& kept);
  void hash(Time now, Kept& kept);

  const FileStoreConfig config_;
  // The thread's only:
  CheckedFiles checked_;
  FileSender sender_;
  std::vector<Kept> kept_;    ///< as config_.files
  std::vector<Kept*> asked_;  ///< by callers, to be looked at
  FileStoreStats stats_;

  const FileDescriptor listener_, wake_;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;  ///< guards the three below
  std::vector<std::pair<std::ptrdiff_t, Waiting>> wanted_;
  bool ended_ = false;
  FileStoreStats published_;
  std::thread thread_;
};

void FileLoop::run() {
  while (!stopping_.load()) {
    Time now = steady_now();
    std::vector<pollfd> waits = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Kept& kept : kept_)
      waits.push_back({kept.receiver ? kept.receiver->socket() : -1, POLLIN, 0});
    const size_t callers = waits.size();
    sender_.await(waits, now);
    const int polled = ::poll(waits.data(), waits.size(), timeout(now));
    TROUPE_CHECK(polled >= 0 || errno == EINTR, errno);
    now = steady_now();
    if (waits[0].revents) {
      uint64_t count = 0;
      (void)!::read(wake_.get(), &count, sizeof count);
    }
    take_wanted(now);
    for (size_t i = 0; i < kept_.size(); ++i)
      if (waits[2 + i].revents) receive(now, kept_[i]);
    sender_.serve(now, std::span(waits).subspan(callers));
    if (waits[1].revents) accept(now);
    for (Kept* kept : std::exchange(asked_, {})) feed(now, *kept, fetch_in::Asked{});
    for (Kept& kept : kept_) {
      hash(now, kept);
      if (const auto due = kept.machine.deadline(); due && now >= *due)
        feed(now, kept, fetch_in::Tick{});
    }
    checked_.tick(now);
    stats_.sender = sender_.stats();
    const std::lock_guard lock(mutex_);
    published_ = stats_;
  }
}

int FileLoop::timeout(Time now) const {
  std::optional<Time> earliest = checked_.deadline();
  auto consider = [&](std::optional<Time> at) {
    if (at && (!earliest || *at < *earliest)) earliest = at;
  };
  consider(sender_.deadline());
  for (const Kept& kept : kept_) {
    if (kept.hash) return 0;
    consider(kept.machine.deadline());
  }
  if (!earliest) return -1;
  return static_cast<int>(std::clamp<int64_t>(to_ms(*earliest - now) + 1, 0, 60'000));
}

void FileLoop::take_wanted(Time now) {
  decltype(wanted_) wanted;
  bool ended = false;
  {
    const std::lock_guard lock(mutex_);
    wanted.swap(wanted_);
    ended = ended_;
  }
  for (auto& [index, done] : wanted) kept_[static_cast<size_t>(index)].waiting.push_back(done);
  if (ended) return end_now();
  for (const auto& [index, done] : wanted)
    feed(now, kept_[static_cast<size_t>(index)], fetch_in::Want{});
}

void FileLoop::end_now() {
  const Error over{ErrorCode::cancelled, "the node ends", {}};
  for (Kept& kept : kept_)
    for (const Waiting& done : std::exchange(kept.waiting, {})) done(std::unexpected(over));
}

void FileLoop::accept(Time now) {
  const int socket = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket >= 0) sender_.accept(now, FileDescriptor(socket));
}

std::string FileLoop::path(const Kept& kept, FilePlace place) const {
  if (place == FilePlace::source) return kept.file.source;
  return fmt::format("{}/{}.{}", config_.folder, to_hex(kept.file.digest),
                     place == FilePlace::copy ? "gguf" : "part");
}

/// For a caller. A file whose digest is not known is hashed for the next time it asks.
std::expected<OpenFile, FileRefusal> FileLoop::find(const Digest& digest) {
  const auto kept = std::ranges::find(kept_, digest, [](const Kept& k) { return k.file.digest; });
  if (kept == kept_.end()) return std::unexpected(FileRefusal::unknown);
  bool unchecked = false;
  for (const FilePlace place : {FilePlace::source, FilePlace::copy}) {
    auto file = open_file(path(*kept, place), config_.bytes_max);
    if (!file) continue;
    const auto known = checked_.known(file->facts);
    if (known == digest) return std::move(*file);
    unchecked |= !known;
  }
  if (!unchecked) return std::unexpected(FileRefusal::unknown);
  asked_.push_back(&*kept);
  return std::unexpected(FileRefusal::unchecked);
}

void FileLoop::feed(Time now, Kept& kept, FetchInput input) {
  kept.inputs.push_back(std::move(input));
  while (!kept.inputs.empty()) {
    const FetchInput next = std::move(kept.inputs.front());
    kept.inputs.pop_front();
    FetchEffects effects;
    kept.machine.step(now, next, effects);
    kept.machine.check();
    for (const FetchEffect& effect : effects) perform(now, kept, effect);
  }
}

void FileLoop::perform(Time now, Kept& kept, const FetchEffect& effect) {
  if (auto* check = std::get_if<fetch_out::Check>(&effect)) {
    look(kept, check->place);
  } else if (auto* asks = std::get_if<fetch_out::Ask>(&effect)) {
    ask(kept, asks->peer);
  } else if (std::holds_alternative<fetch_out::HangUp>(effect)) {
    kept.receiver.reset();
  } else if (std::holds_alternative<fetch_out::Keep>(effect)) {
    kept.inputs.push_back(keep(now, kept));
  } else if (auto* discard = std::get_if<fetch_out::Discard>(&effect)) {
    ++stats_.wrong;
    ::unlink(path(kept, discard->place).c_str());
  } else if (auto* ready = std::get_if<fetch_out::Ready>(&effect)) {
    const std::string at = path(kept, ready->place);
    for (const Waiting& done : std::exchange(kept.waiting, {})) done(at);
  } else if (auto* tell = std::get_if<fetch_out::Tell>(&effect)) {
    config_.waits(kept.file.digest, tell->what);
  } else {
    config_.warned(std::get<fetch_out::Warn>(effect).what);
  }
}

void FileLoop::look(Kept& kept, FilePlace place) {
  auto file = open_file(path(kept, place), config_.bytes_max);
  if (!file) {
    kept.inputs.push_back(fetch_in::Checked{place, std::nullopt, file.error()});
  } else if (const auto known = checked_.known(file->facts)) {
    kept.inputs.push_back(fetch_in::Checked{place, *known, {}});
  } else {
    kept.inputs.push_back(fetch_in::Reading{place, file->facts.size});
    kept.hash.emplace(std::move(*file));
    kept.hashed = place;
  }
}

void FileLoop::hash(Time now, Kept& kept) {
  if (!kept.hash) return;
  auto digest = kept.hash->step();
  if (!digest) return;
  const FilePlace place = kept.hashed;
  fetch_in::Checked checked{place, std::nullopt, {}};
  if (*digest) {
    checked_.learn(now, kept.hash->facts(), **digest);
    checked.digest = **digest;
  } else {
    checked.error = digest->error();
    checked.error.message = path(kept, place) + ": " + checked.error.message;
  }
  kept.hash.reset();
  feed(now, kept, std::move(checked));
}

void FileLoop::ask(Kept& kept, const std::string& peer) {
  const auto door = std::ranges::find(config_.ways.doors, peer, &FileDoor::node);
  auto started = FileReceiver::start(door->path, path(kept, FilePlace::part), kept.file.digest);
  if (started)
    kept.receiver = std::move(*started);
  else if (started.error().code == ErrorCode::unavailable)
    kept.inputs.push_back(fetch_in::Broken{started.error().message});
  else
    kept.inputs.push_back(fetch_in::Stuck{started.error()});
}

/// The part was hashed in just this state: on disk, under its name, and known as such.
FetchInput FileLoop::keep(Time now, const Kept& kept) {
  const std::string from = path(kept, FilePlace::part), to = path(kept, FilePlace::copy);
  const auto stuck = [&](const std::string& why) {
    return fetch_in::Stuck{
        {ErrorCode::unavailable,
         fmt::format("{} can't be kept ({}); look at the state directory", from, why),
         {}}};
  };
  auto part = open_file(from, config_.bytes_max);
  if (!part) return stuck(part.error().message);
  if (checked_.known(part->facts) != kept.file.digest) return stuck("somebody changed it");
  const FileDescriptor folder(::open(config_.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (::fsync(part->descriptor.get()) != 0 || ::rename(from.c_str(), to.c_str()) != 0 ||
      ::fsync(folder.get()) != 0)
    return stuck(std::strerror(errno));
  const auto facts = file_facts(part->descriptor.get());  // renaming changed its ctime
  if (!facts) return stuck(std::strerror(errno));
  checked_.learn(now, *facts, kept.file.digest);
  ++stats_.fetched;
  return fetch_in::Kept{};
}

void FileLoop::receive(Time now, Kept& kept) {
  if (!kept.receiver) return;
  auto turn = kept.receiver->turn();
  if (auto* answered = std::get_if<FileReceiver::Answered>(&turn)) {
    if (answered->answer.refusal)
      return feed(now, kept, fetch_in::Refused{*answered->answer.refusal});
    kept.received = answered->from;
    feed(now, kept, fetch_in::Answered{answered->answer.size, answered->from});
    // What came along with the answer is in the receiver, and poll() would not tell of it.
    if (kept.receiver) receive(now, kept);
  } else if (auto* came = std::get_if<FileReceiver::Came>(&turn)) {
    stats_.received += came->total - std::exchange(kept.received, came->total);
    feed(now, kept, fetch_in::Came{came->total});
  } else if (auto* ended = std::get_if<FileReceiver::Ended>(&turn)) {
    kept.receiver.reset();
    feed(now, kept, fetch_in::Broken{std::move(ended->why)});
  } else if (auto* stuck = std::get_if<FileReceiver::Stuck>(&turn)) {
    kept.receiver.reset();
    feed(now, kept, fetch_in::Stuck{std::move(stuck->error)});
  }
}

}  // namespace

Result<std::unique_ptr<FileStore>> FileStore::start(FileStoreConfig config) {
  if (::mkdir(config.folder.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(ErrorCode::permission_denied,
                fmt::format("the folder {} can't be made ({}); choose another with --state",
                            config.folder, std::strerror(errno)));
  int listener = -1;
  if (!config.ways.socket.empty()) {
    auto opened = listen_unix(config.ways.socket);
    if (!opened) return std::unexpected(opened.error());
    listener = *opened;
  }
  return std::make_unique<FileLoop>(std::move(config), listener);
}

}  // namespace troupe
