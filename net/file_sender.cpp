#include "net/file_sender.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "config/check.h"

namespace troupe {

namespace {
/// What was not sent in time may be made up for, so far.
constexpr Duration kCatchUp = 20ms;
}  // namespace

void FileSender::accept(Time now, FileDescriptor caller) {
  if (callers_.size() >= kFileCallersMax) {
    ++stats_.refused;
    return;  // closes it
  }
  Caller& made = callers_.emplace_back();
  made.socket = std::move(caller);
  made.moved = now;
}

size_t FileSender::transfers() const {
  return static_cast<size_t>(
      std::ranges::count_if(callers_, [](const Caller& c) { return c.file.has_value(); }));
}

void FileSender::await(std::vector<pollfd>& waits, Time now) const {
  for (const Caller& caller : callers_) {
    const bool writes = !caller.drained() || (caller.sending() && now >= next_chunk_);
    waits.push_back({caller.socket.get(), static_cast<short>(POLLIN | (writes ? POLLOUT : 0)), 0});
  }
}

void FileSender::serve(Time now, std::span<const pollfd> waits) {
  auto caller = callers_.begin();
  for (const pollfd& wait : waits) {
    const auto next = std::next(caller);
    const int64_t before = caller->at;
    if (turn(now, *caller, wait.revents) == Turn::over)
      callers_.erase(caller);
    else if (caller->at != before)
      callers_.splice(callers_.end(), callers_, caller);
    caller = next;
  }
}

FileSender::Turn FileSender::turn(Time now, Caller& caller, short events) {
  if (now - caller.moved >= (caller.answered() ? kFileSilenceMax : kFileAnswerTimeout)) {
    stats_.broken += caller.sending();
    return Turn::over;
  }
  if ((events & (POLLIN | POLLHUP | POLLERR)) && read(caller) == Turn::over) return Turn::over;
  return caller.answered() ? write(now, caller) : Turn::stays;
}

FileSender::Turn FileSender::read(Caller& caller) {
  if (caller.answered()) {  // nothing more may come: it hung up, or is confused
    stats_.broken += caller.sending();
    return Turn::over;
  }
  const auto room = std::span(caller.request).subspan(caller.filled);
  const ssize_t got = ::recv(caller.socket.get(), room.data(), room.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Turn::stays;
  if (got <= 0) return Turn::over;
  caller.filled += static_cast<size_t>(got);
  return caller.answered() ? answer(caller) : Turn::stays;
}

FileSender::Turn FileSender::answer(Caller& caller) {
  const auto request = decode_file_request(caller.request);
  if (!request) {
    ++stats_.refused;
    return Turn::over;
  }
  FileAnswer answer;
  auto file =
      transfers() < kFileTransfersMax ? find_(request->digest) : std::unexpected(FileRefusal::busy);
  if (file && request->from > static_cast<uint64_t>(file->facts.size))
    file = std::unexpected(FileRefusal::past_end);
  if (file) {
    answer.size = static_cast<uint64_t>(file->facts.size);
    caller.at = static_cast<int64_t>(request->from);
    caller.file = std::move(*file);
  } else {
    answer.refusal = file.error();
    ++stats_.refused;
  }
  const auto bytes = encode_file_answer(answer);
  caller.out.assign(bytes.begin(), bytes.end());
  return Turn::stays;
}

FileSender::Turn FileSender::write(Time now, Caller& caller) {
  if (caller.drained() && caller.sending() && now >= next_chunk_) load_chunk(now, caller);
  if (!caller.drained()) {
    const ssize_t put = ::send(caller.socket.get(), caller.out.data() + caller.out_sent,
                               caller.out.size() - caller.out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) return Turn::stays;
    if (put < 0) {
      stats_.broken += caller.file.has_value();
      return Turn::over;
    }
    caller.out_sent += static_cast<size_t>(put);
    caller.moved = now;
  } else if (caller.sending()) {
    caller.moved = now;  // it waits for its turn, not the other way round
  }
  if (!caller.drained() || caller.sending()) return Turn::stays;
  stats_.sent += caller.file.has_value();
  return Turn::over;  // what is in the socket still reaches it
}

/// A file that is no longer what was hashed is not sent on: the caller is told, and sees no byte of
/// it.
void FileSender::load_chunk(Time now, Caller& caller) {
  const OpenFile& file = *caller.file;
  const auto wanted =
      static_cast<size_t>(std::min<int64_t>(kFileChunkBytesMax, file.facts.size - caller.at));
  caller.out.resize(kFileChunkHeadBytes + wanted);
  caller.out_sent = 0;
  const ssize_t got = ::pread(file.descriptor.get(), caller.out.data() + kFileChunkHeadBytes,
                              wanted, static_cast<off_t>(caller.at));
  const bool good =
      got == static_cast<ssize_t>(wanted) && file_facts(file.descriptor.get()) == file.facts;
  const auto head = encode_file_chunk_head(good ? static_cast<uint32_t>(wanted) : 0);
  std::ranges::copy(head, caller.out.begin());
  if (!good) {
    caller.out.resize(kFileChunkHeadBytes);
    caller.file.reset();
    ++stats_.broken;
    return;
  }
  caller.at += static_cast<int64_t>(wanted);
  stats_.bytes += wanted;
  const Duration takes(static_cast<int64_t>(1e9 * static_cast<double>(wanted) /
                                            static_cast<double>(bytes_per_second_)));
  next_chunk_ = std::max(next_chunk_, now - kCatchUp) + takes;
}

std::optional<Time> FileSender::deadline() const {
  std::optional<Time> earliest;
  auto consider = [&](Time at) {
    if (!earliest || at < *earliest) earliest = at;
  };
  for (const Caller& caller : callers_) {
    consider(caller.moved + (caller.answered() ? kFileSilenceMax : kFileAnswerTimeout));
    if (caller.sending() && caller.drained()) consider(next_chunk_);
  }
  return earliest;
}

}  // namespace troupe
